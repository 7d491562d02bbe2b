"""The whole API against its own description: what schemathesis thinks of must be answered as the description says.

A real server that asks for keys, over a real socket, with really recorded data; the same examples in every run.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx
import hypothesis
import pytest
import schemathesis
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from tests.page.furnished import RIG_RUN, furnished
from tests.page.recorded import DRIVE, FLIGHT, LIVE, PENDING, SMALL, record_store

from gapless.catalog.state_database import StateDatabase
from gapless.serve.keys import make_key
from gapless.serve.rights import Right

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1_200)]
_EXAMPLES = 10  # of each operation and kind
_ENDLESS = r"/stream$"  # these last until the server ends them
_LOGIN = "/api/v1/session"  # wrong keys are slowed down on purpose
_TIMEOUT_S = 60


def no_fault(_ctx: Any, response: Any, case: Any) -> None:
    """Nothing that is asked is a fault of the server; 502: the control socket of a run that ends answers no more."""
    acts = case.method == "POST" and case.operation.path.startswith("/api/v1/live/")
    assert response.status_code < 500 or (acts and response.status_code == 502), response.text


def rejected(ctx: Any, response: Any, case: Any) -> bool | None:
    """What the description does not allow is refused; a body above the bound as such, whatever else is wrong."""
    return None if response.status_code == 413 else negative_data_rejection(ctx, response, case)


_CHECKS = [
    no_fault,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
_LIVE = [RIG_RUN, LIVE]
_TOPICS = [
    (FLIGHT, "sensors/imu"),
    (DRIVE, "camera/front"),
    (DRIVE, "camera/depth"),
    (LIVE, "oven/pv"),
    (FLIGHT, "_events"),
    (PENDING, "pump/pressure"),
]
_FIELDS = {FLIGHT: "sensors/imu:acceleration.z", DRIVE: "car/speed:value", LIVE: "oven/pv:value"}


@dataclass(frozen=True)
class Known:
    """What the store's own answers name: a feature run, a model, a session of the hub, a training."""

    features: dict[str, str]
    models: dict[str, str]
    others: dict[str, str]


@dataclass(frozen=True)
class Api:
    """The description of a served store, and a key that may do everything."""

    schema: Any
    token: str
    origin: str
    known: Known

    def operations(self) -> Iterator[Any]:
        """Yield every operation but streams without an end and the login."""
        for found in self.schema.exclude(path_regex=_ENDLESS).exclude(path=_LOGIN).get_all_operations():
            yield found.ok()


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """Return the API of a store with recordings, features, a hub and a key."""
    work = tmp_path_factory.mktemp("schemathesis")
    root = work / "store"
    record_store(root)
    with closing(StateDatabase(root)) as database:
        _, token = make_key(database, Right.MANAGE)
    with furnished(root, work) as site:
        headers = {"Authorization": f"Bearer {token}"}
        with httpx.Client(base_url=f"{site.api}/", headers=headers, timeout=_TIMEOUT_S) as client:
            known = what_is_there(client)
        schema = schemathesis.openapi.from_url(f"{site.api}/openapi.json", headers=headers)
        yield Api(schema, token, site.url, known)


def what_is_there(client: httpx.Client) -> Known:
    """Return names that only the server knows."""
    run = client.get("features/runs").json()["runs"][0]
    model = client.get("features/models").json()["models"][0]
    task = client.get("hub/tasks").json()["waiting"][0]
    job = client.get("jobs").json()["jobs"][0]
    return Known(
        {"feature": run["feature"], "run_id": run["run_id"]},
        {"name": model["name"], "run_id": model["run_id"]},
        {"task_id": task["id"], "job_id": str(job["job_id"])},
    )


def there(case: Any, number: int, known: Known) -> None:
    """Let an example ask for things that there are instead of made-up ones; what it discards nobody else looks at."""
    part = case.operation.path.split("/")[3]
    name, topic = _TOPICS[number % len(_TOPICS)]
    if part == "live":
        name = _LIVE[number % len(_LIVE)]
    elif part == "pipelines":
        name = "oven"
    elif case.method == "DELETE" and "annotation" not in case.path_parameters:
        name = SMALL[number]
    elif "artifact" in case.path_parameters:
        name = FLIGHT
    real = {"name": name, "topic": topic, "artifact": "notes.txt", "step": "slope"}
    if part == "features":
        real |= known.models if "models" in case.operation.path else known.features
    real |= known.others
    for parameter in case.path_parameters:
        if parameter in real:
            case.path_parameters[parameter] = quote(real[parameter], safe="")
    if "fields" in (case.query or {}) and name in _FIELDS:
        case.query["fields"] = [_FIELDS[name]]


def examples_of(
    api: Api, operation: Any, ask: Callable[[Any], None], mode: schemathesis.GenerationMode
) -> list[str]:
    """Ask the same examples of an operation in every run; return what was wrong with the first bad one."""

    @hypothesis.settings(
        max_examples=_EXAMPLES, derandomize=True, database=None, deadline=None,
        suppress_health_check=list(HealthCheck), phases=[hypothesis.Phase.generate],
    )  # fmt: skip
    @given(case=operation.as_strategy(generation_mode=mode), number=st.integers(0, 9))
    def run(case: Any, number: int) -> None:
        if mode is schemathesis.GenerationMode.POSITIVE and number < 8:
            there(case, number, api.known)
        ask(case)

    try:
        run()
    except FailureGroup as failures:
        return [f"{operation.label}: {failure}" for failure in failures.exceptions]
    return []


def test_answers_are_as_described(api: Api) -> None:
    """Valid requests: a documented status, type, headers and body, and never a fault of the server."""
    headers = {"Authorization": f"Bearer {api.token}"}

    def ask(case: Any) -> None:
        case.call_and_validate(checks=_CHECKS, headers=headers, timeout=_TIMEOUT_S)

    found = [
        fault
        for operation in api.operations()
        for fault in examples_of(api, operation, ask, schemathesis.GenerationMode.POSITIVE)
    ]
    assert not found, "\n\n".join(found)


def test_wrong_requests_are_refused(api: Api) -> None:
    """Requests that the description does not allow: refused, in the documented words, and never a fault."""
    headers = {"Authorization": f"Bearer {api.token}"}
    checks = [*_CHECKS, rejected]

    def ask(case: Any) -> None:
        case.call_and_validate(checks=checks, headers=headers, timeout=_TIMEOUT_S)

    found = [
        fault
        for operation in api.operations()
        for fault in examples_of(api, operation, ask, schemathesis.GenerationMode.NEGATIVE)
    ]
    assert not found, "\n\n".join(found)


@pytest.mark.parametrize(
    "headers", [{}, {"Authorization": "Bearer gapless_00000000_00"}], ids=["none", "wrong"]
)
def test_no_operation_forgets_the_key(api: Api, headers: dict[str, str]) -> None:
    """Without a key, and with a made-up one, every operation, streams too, says 401 before it looks at anything."""
    answers = {}
    with httpx.Client(base_url=api.origin, headers=headers, timeout=_TIMEOUT_S) as client:
        for path, methods in api.schema.raw_schema["paths"].items():
            for method in methods:
                if path != _LOGIN:
                    answers[f"{method} {path}"] = client.request(
                        method, re.sub(r"{\w+}", "x", path)
                    ).status_code
    assert len(answers) > 40
    assert {operation: status for operation, status in answers.items() if status != 401} == {}
