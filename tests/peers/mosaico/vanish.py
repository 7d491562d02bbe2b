"""A client that does not finish what it began: ``vanish.py HOST PORT killed|ended``; prints ``sent`` before."""

from __future__ import annotations

import os
import sys
import time

from mosaicolabs import Message, MosaicoClient, Temperature  # type: ignore[import-not-found]

client = MosaicoClient.connect(sys.argv[1], int(sys.argv[2]))
sequence = client.sequence_create("vanished", {}).__enter__()
topic = sequence.topic_create("t", {}, Temperature)
for number in range(100):
    topic.push(Message(timestamp_ns=number, data=Temperature(value=float(number))))
topic._wrstate._write_current_batch()
while (
    client.sequence_handler("vanished").get_topic_handler("/t", force_new_instance=True).timestamp_ns_max
    != 99
):
    client.clear_sequence_handlers_cache()
    time.sleep(0.02)
print("sent", flush=True)
if sys.argv[3] == "killed":
    time.sleep(600)
os._exit(0)
