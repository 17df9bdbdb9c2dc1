"""Creates users whose rooms are expensive to read, and runs a server for them. The measurements in this folder use
it."""
import asyncio
import concurrent.futures
import contextlib
import http.client
import json
import os
import random
import tempfile
from pathlib import Path

import client

HERE = Path(__file__).resolve().parent
KEY = "bench-key-bench-key-bench-key-bench-key"
# The ids of the users who fill the rooms of the measured users.
CROWD = range(10_000, 15_000)


def call(port, requests, at_once=4):
    """Sends requests (method, path, body) to the API on several connections."""
    def some(part):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
        answers = []
        for method, path, body in part:
            connection.request(method, f"/api/v1{path}", None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            text = answer.read()
            assert answer.status < 300, (method, path, answer.status, text[:200])
            answers.append(json.loads(text) if text else None)
        return answers

    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        parts = pool.map(some, [requests[n::at_once] for n in range(at_once)])
        return [answer for part in parts for answer in part]


def make_groups(port, user, count, members):
    """Creates `count` groups with this many members and one message each. Returns their ids."""
    dice = random.Random(user)
    rooms = []
    for _ in range(count):
        others = dice.sample(CROWD, members - 1)
        people = [{"user_id": n, "email": f"user{n}@example.com"} for n in (user, *others)]
        rooms.append(("POST", "/rooms", {"kind": "group", "members": people}))
    ids = [room["room_id"] for room in call(port, rooms)]
    call(port, [("POST", f"/rooms/{room}/messages", {"sender_id": user, "text": "hello " * 10}) for room in ids])
    return ids


async def make_tombstones(port, user, count, sockets=4):
    """Makes a room of a user and a peer. The peer writes `count` messages. Then the peer is erased, which deletes these
    messages."""
    peer = user + 1_000_000
    members = [{"user_id": user}, {"user_id": peer}]
    room = call(port, [("POST", "/rooms", {"kind": "group", "members": members})])[0]["room_id"]
    frame = client.text_frame(json.dumps({"action": "send", "message": "x"}))

    async def drain(reader):
        while await reader.read(1 << 20):
            pass

    async def say(some):
        reader, writer = await client.open_socket(port, peer, f"/ws/chat/?room_id={room}")
        draining = asyncio.create_task(drain(reader))
        for _ in range(some):
            writer.write(frame)
            await writer.drain()
        return writer, draining

    told = await asyncio.gather(*(say(count // sockets) for _ in range(sockets)))
    newest = f"/rooms/{room}/messages?limit=1"
    while call(port, [("GET", newest, None)])[0]["messages"][0]["message_id"] < count // sockets * sockets:
        await asyncio.sleep(0.5)
    for writer, draining in told:
        writer.close()
        draining.cancel()
    call(port, [("DELETE", f"/users/{peer}", None)])
    while call(port, [("GET", f"/users/{peer}", None)])[0]["erasing"]:
        await asyncio.sleep(0.5)
    return room


@contextlib.asynccontextmanager
async def serve(port, **settings):
    """Runs a server with its database (benches/up). Gives their process ids by name: server and db."""
    with tempfile.TemporaryDirectory() as folder:
        pids = Path(folder) / "pids"
        environment = os.environ | {
            "CHAT_JWT_SECRET": client.SECRET, "PARLOR_BENCH_KEY": KEY, "PARLOR__LOG__FILTER": "error",
        } | settings
        server = await asyncio.create_subprocess_exec(
            HERE / "up", "--port", str(port), "--users", "2", "--pids", str(pids), env=environment,
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            line = await asyncio.wait_for(server.stdout.readline(), 90)
            assert line.startswith(b"ready"), line
            yield {name: int(pid) for name, _, pid in (one.partition("=") for one in pids.read_text().split())}
        finally:
            server.terminate()
            await server.wait()
