"""Runs the load generator's mode `chat` against a new server, beside sockets that call an action."""
import asyncio
import json
import os
import statistics
import subprocess
import tempfile
from pathlib import Path

from client import SECRET, open_socket, text_frame

HERE = Path(__file__).resolve().parent
ROOMS = 200
CALLERS = 20
FIGURES = {"to the peer, p50": "p50", "to the peer, p99": "p99"}


async def call(port, user, action):
    """Opens a socket and calls the action once a second, even if calls fail, until cancelled."""
    peer = user + 1 if user % 2 else user - 1
    reader, writer = await open_socket(port, user, f"/ws/chat/?firts_user={user}&second_user={peer}/")
    drain = asyncio.create_task(discard(reader))
    try:
        while True:
            writer.write(text_frame(json.dumps({"action": action})))
            await asyncio.sleep(1)
    finally:
        drain.cancel()
        writer.close()


async def discard(reader):
    while await reader.read(65536):
        pass


async def run(arguments, settings, action, seed):
    """Starts a server with these settings, and returns the report of the load generator. Twenty further sockets call
    the action."""
    environment = os.environ | {"CHAT_JWT_SECRET": SECRET, "PARLOR__LOG__FILTER": "error"} | settings
    users = 2 * ROOMS + CALLERS
    server = await asyncio.create_subprocess_exec(
        HERE / "up", "--port", str(arguments.port), "--users", str(users), env=environment,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )
    callers = []
    try:
        line = await asyncio.wait_for(server.stdout.readline(), 90)
        assert line.startswith(b"ready"), line
        callers = [asyncio.create_task(call(arguments.port, 2 * ROOMS + 1 + n, action)) for n in range(CALLERS)]
        with tempfile.NamedTemporaryFile() as report:
            load = await asyncio.create_subprocess_exec(
                arguments.loadgen, "--url", f"ws://127.0.0.1:{arguments.port}", "--json", report.name, "chat",
                "--rooms", str(ROOMS), "--rate", str(arguments.rate), "--warmup", "5", "--seed", str(seed),
                "--duration", str(arguments.seconds), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment,
            )
            code = await asyncio.wait_for(load.wait(), arguments.seconds + 120)
            assert code == 0, f"the load generator ended with {code}"
            return json.loads(Path(report.name).read_text())
    finally:
        for caller in callers:
            caller.cancel()
        await asyncio.gather(*callers, return_exceptions=True)
        server.terminate()
        await server.wait()


async def compare(arguments, states, base, run_state):
    """Runs the states in turn, and prints the medians and the ratios to the state `base` of the same round."""
    figures = {(state, name): [] for state in states for name in FIGURES}
    for seed in range(1, arguments.rounds + 1):
        for state in states if seed % 2 else reversed(states):
            report = await run_state(state, seed)
            found = {name: report["latency_ms"]["peer"][figure] for name, figure in FIGURES.items()}
            for name, value in found.items():
                figures[state, name].append(value)
            print(seed, state, found, flush=True)
    for name in FIGURES:
        print(f"\n{name}, ms, at {arguments.rate} messages/s")
        of_base = figures[base, name]
        for state in states:
            values = figures[state, name]
            ratios = [value / other for value, other in zip(values, of_base)]
            print(
                f"  {state:8} median {statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f}), "
                f"to {base} {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
            )


def add_arguments(parser):
    parser.add_argument("--loadgen", type=Path, required=True)
    parser.add_argument("--port", type=int, default=9400)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--rate", type=int, default=500)
    parser.add_argument("--seconds", type=int, default=20)
    return parser.parse_args()
