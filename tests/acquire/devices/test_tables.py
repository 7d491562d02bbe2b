"""The tables that come with the package, and how strictly a table is read."""

from __future__ import annotations

import asyncio
import re
import struct
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from gapless.acquire.command import CommandStatus
from gapless.acquire.devices.line_config import LineConfig
from gapless.acquire.devices.line_table import Argument, LineTable, ReplyField, render
from gapless.acquire.devices.modbus import ModbusConfig, ModbusDevice
from gapless.acquire.devices.table_file import read_table, shipped_tables
from gapless.errors import DeviceFault, UsageError
from gapless.testing.adapter_contract import order
from gapless.testing.modbus_server import ModbusServer


def line_table(name: str) -> LineTable:
    """Return a shipped table of lines."""
    return LineTable.model_validate(read_table(name, "line"))


def parse(name: str, line: str) -> dict[str, Any]:
    """Return the values of the first query's reply."""
    table = line_table(name)
    return table.queries[0].parse(line, table.parameters)


class TestWatlow:
    """A temperature controller at the registers that its table names."""

    def test_what_it_shows(self) -> None:
        """Floats stand with their low word first; four of six points lie apart, two are neighbours."""
        with ModbusServer() as server:
            for register, value in ((360, 75.0), (1904, 12.5), (2160, 80.0), (2172, 79.0)):
                high, low = struct.unpack(">2H", struct.pack(">f", value))
                server.set(register, low, high)
            server.set(362, 61)
            server.set(1880, 10)
            device = controller(server)

            async def main() -> list[Any]:
                await device.open()
                server.requests.clear()
                values = list(await device.read())
                await device.close()
                return values

            assert asyncio.run(asyncio.wait_for(main(), 60)) == [75.0, 61, 10, 12.5, 80.0, 79.0]
            reads = [(function, address, count) for _, function, address, count in server.requests]
            assert reads == [(3, 360, 3), (3, 1880, 1), (3, 1904, 2), (3, 2160, 2), (3, 2172, 2)]

    def test_it_obeys(self) -> None:
        """A setpoint and the control mode arrive and are read back."""
        with ModbusServer() as server:
            device = controller(server)

            async def main() -> None:
                await device.open()
                for point, value in (("setpoint", 75.0), ("control_mode", 62)):
                    result = await device.command(order("write", point=point, value=value))
                    assert result.status is CommandStatus.DONE, result
                await device.close()

            asyncio.run(asyncio.wait_for(main(), 60))
            assert (server.get(2160), server.get(2161), server.get(1880)) == (0, 0x4296, 62)

    def test_own_points_replace_those_of_the_table(self) -> None:
        """A controller that was set to Celsius says so; the other points stay."""
        own = {"name": "process_value", "register": 360, "dtype": "float32", "word_order": "little"}
        with ModbusServer() as server:
            device = controller(server, points=[{**own, "unit": "degC"}])
        units = {field.name: field.unit for field in device.fields()}
        assert (units["process_value"], units["setpoint"], len(units)) == ("degC", "degF", 6)
        again = ModbusConfig.model_validate(device.config.model_dump())
        assert again == device.config


def controller(server: ModbusServer, **changes: Any) -> ModbusDevice:
    """Return the controller at a server."""
    given = {"adapter": "modbus", "host": server.host, "port": server.port, "table": "watlow_pm"}
    return ModbusDevice("w", ModbusConfig.model_validate({**given, **changes}))


class TestFrames:
    """Lines as the manuals print them."""

    @pytest.mark.parametrize(
        ("line", "flow", "gas", "status"),
        [
            ("A +014.70 +025.00 +002.00 +001.90 002.00 Air", 1.9, "Air", ""),
            ("A +014.70 +025.00 -000.01 -000.01 000.00     N2 HLD MOV", -0.01, "N2", "HLD MOV"),
            ("A +014.70 +025.00 +000.00 +000.00 000.00  C2H6 ", 0.0, "C2H6", ""),
        ],
    )
    def test_alicat(self, line: str, flow: float, gas: str, status: str) -> None:
        """Spaces pad the columns; status codes follow the gas."""
        found = parse("alicat", line)
        assert (found["mass_flow"], found["gas"], found["status"], found["temperature"]) == (
            flow,
            gas,
            status,
            25.0,
        )

    @pytest.mark.parametrize(
        "line",
        [
            "",
            "?",
            "B +014.70 +025.00 +000.00 +000.00 000.00 Air",
            "A +014.70 +025.00 +000.00 +000.00 Air",
            "A +014,70 +025.00 +000.00 +000.00 000.00 Air",
            "A +014.70 +025.00 +000.00 +000.00 000.00 Air XYZ",
            "A +014.70 +025.00 +0x0.00 +000.00 000.00 Air",
            "A +014.70 +025.00 nan +000.00 000.00 Air",
            "xA +014.70 +025.00 +000.00 +000.00 000.00 Air",
        ],
    )
    def test_what_is_no_alicat_frame_is_a_fault(self, line: str) -> None:
        """Another unit's frame, a missing or foreign number, an unknown code: never a value."""
        with pytest.raises(DeviceFault):
            parse("alicat", line)

    @pytest.mark.parametrize(
        ("line", "weight", "stable"),
        [
            ("+    123.45 g  ", 123.45, True),
            ("N     +    123.45 g  ", 123.45, True),
            ("-      0.01    ", -0.01, False),
            ("      High     ", None, False),
            ("      Low      ", None, False),
        ],
    )
    def test_sartorius(self, line: str, weight: float | None, stable: bool) -> None:
        """The unit is shown while the balance is stable; beyond its range there is no weight."""
        assert parse("sartorius", line) == {"weight": weight, "stable": stable}

    @pytest.mark.parametrize("line", ["+    123.45 kg ", "+    123.45 g  x", "+    12a.45 g  ", "Err 54"])
    def test_what_is_no_weight_in_grams_is_a_fault(self, line: str) -> None:
        """A balance that weighs in another unit is never read as grams."""
        with pytest.raises(DeviceFault):
            parse("sartorius", line)

    def test_scpi(self) -> None:
        """Numbers in scientific notation; the overload number is no number."""
        assert parse("scpi_multimeter", "-1.50000000E-03") == {"voltage": -0.0015}
        assert parse("scpi_multimeter", "+9.90000000E+37") == {"voltage": None}
        with pytest.raises(DeviceFault, match="1 fields between"):
            parse("scpi_multimeter", "1.0,2.0")


class TestStrictness:
    """What a table may say, and what a value may be."""

    def test_every_shipped_table_is_read(self) -> None:
        """Each is of a kind that some device takes."""
        assert shipped_tables() == ["alicat", "sartorius", "scpi_multimeter", "watlow_pm"]
        for name in ("alicat", "sartorius", "scpi_multimeter"):
            assert LineTable.model_validate(line_table(name).model_dump()) == line_table(name)

    def test_a_table_may_lie_anywhere(self, tmp_path: Path) -> None:
        """A path is read; what is no TOML is told with the line."""
        path = tmp_path / "own.toml"
        path.write_text('kind = "line"\n[[queries]]\nsend = "?"\nsplit = ","\nfields = [{ name = "x" }]\n')
        table = LineTable.model_validate(read_table(str(path), "line"))
        assert [field.name for field in table.fields] == ["x"]
        path.write_text("kind = \n")
        with pytest.raises(ValueError, match=r"is no TOML: .*line 1"):
            read_table(str(path), "line")

    @pytest.mark.parametrize(
        ("table", "words"),
        [
            ({}, "queries, or a stream"),
            ({"queries": [{"send": "?"}]}, "fields, each with a name of its own"),
            ({"queries": [{"send": "?", "split": ","}]}, "a reply that is split has fields"),
            ({"queries": [{"send": "?", "pattern": "(", "fields": []}]}, "no regular expression"),
            ({"queries": [{"send": "?", "pattern": "x", "fields": [{"name": "x"}]}]}, "no group named x"),
            (
                {"queries": [{"send": "{a}", "split": ",", "fields": [{"name": "x"}]}]},
                "names a, which nothing",
            ),
            (
                {"queries": [{"send": "", "pattern": "<<a>>(?P<x>.*)", "fields": [{"name": "x"}]}]},
                "names a, which nothing",
            ),
            (
                {"queries": [{"send": "?", "split": ",", "every": 2, "fields": [{"name": "x"}]}]},
                "asked at every poll",
            ),
            (
                {"queries": [{"send": "?", "split": ",", "fields": [{"name": "x", "dtype": "bool"}]}]},
                "a bool has choices",
            ),
            ({"queries": [], "colour": "red"}, "Extra inputs are not permitted"),
        ],
    )
    def test_a_table_that_makes_no_sense_is_refused(self, table: dict[str, Any], words: str) -> None:
        """With words that name it."""
        with pytest.raises(ValidationError, match=words):
            LineTable.model_validate(table)

    @pytest.mark.parametrize("text", ["1", "+1", "-1.5", ".5", "5.", "1e3", "1E-03", "+   1.25", " 7 "])
    def test_numbers(self, text: str) -> None:
        """Digits, a point, a sign, an exponent, and blanks around and after the sign."""
        assert ReplyField(name="x").parse(text) == float(text.replace(" ", ""))

    @pytest.mark.parametrize(
        "text", ["", "-", ".", "1,5", "1 2", "1_000", "0x10", "nan", "inf", "1e", "e3", "12 g", "٣", "1\x00"]
    )
    def test_what_is_no_number_is_a_fault(self, text: str) -> None:
        """Python would read some of these."""
        for dtype in ("float64", "int64"):
            with pytest.raises(DeviceFault, match=f"no {dtype}"):
                ReplyField.model_validate({"name": "x", "dtype": dtype}).parse(text)

    def test_an_argument_is_put_in_as_it_is(self) -> None:
        """Numbers by their format; text only where it is plain; a line end never gets in."""
        assert render("S{v:.2f}", "\r", {"v": Argument().check("v", 1.005)}) == b"S1.00\r"
        assert Argument(choices={"on": "1", "off": "0"}).check("v", "on") == "1"
        with pytest.raises(UsageError, match="no such choice"):
            Argument(choices={"on": "1"}).check("v", "1")
        for text in ("a\rHC", "é", "\x1b"):
            with pytest.raises(UsageError, match="no plain string"):
                Argument(dtype="string").check("v", text)

    def test_the_page_shows_tables_that_are_read(self) -> None:
        """Every table and device of docs/devices.md is one."""
        page = (Path(__file__).parents[3] / "docs" / "devices.md").read_text(encoding="utf-8")
        shown = [tomllib.loads(block) for block in re.findall(r"```toml\n(.*?)```", page, re.DOTALL)]
        kinds: dict[str, type[BaseModel]] = {"modbus": ModbusConfig, "serial_line": LineConfig}
        for block in shown:
            if block.pop("kind", None) == "line":
                LineTable.model_validate(block)
            for device in block.get("devices", {}).values():
                kinds[device["adapter"]].model_validate(device)
        assert len(shown) == 5

    def test_devices_cost_nothing_until_they_are_used(self) -> None:
        """Reading a configuration imports neither pymodbus nor pyserial."""
        program = (
            "import sys, gapless.acquire.devices.modbus, gapless.acquire.devices.serial_line as line\n"
            "line.LineConfig.model_validate({'adapter': 'x', 'port': '/dev/x', 'table': 'alicat'})\n"
            "print(sorted({'pymodbus', 'serial'} & set(sys.modules)))"
        )
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
        )
        assert done.stdout.strip() == "[]"
