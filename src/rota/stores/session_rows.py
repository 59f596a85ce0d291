"""Workers and servers as rows."""

from collections.abc import Iterable
from typing import Final

import msgspec

from rota.core.model import Server, Worker
from rota.store.vitals import Readings, Vitals
from rota.stores.rows import (
    Row,
    from_micros,
    optional_instant,
    optional_micros,
    texts_from_json,
    to_json,
    to_micros,
)

_capacity: Final = msgspec.json.Decoder(dict[str, int]).decode
_readings: Final = msgspec.json.Decoder(Readings).decode


def worker_row(worker: Worker) -> Row:
    """A worker as a row, without the numbers of its sessions: those are the store's to give."""
    return (
        worker.name,
        worker.boot_id,
        worker.server,
        worker.version,
        to_json(worker.labels),
        to_json(worker.capacity),
        worker.cpus,
        worker.memory,
        to_micros(worker.connected),
        to_micros(worker.last_seen),
        optional_micros(worker.disconnected),
        worker.draining,
        worker.clock_offset,
        optional_micros(worker.settled),
        worker.dial,
    )


def worker_from_row(row: Row) -> Worker:
    """The worker of a row."""
    (name, boot_id, session, server, version, labels, capacity, cpus, memory,
     connected, last_seen, disconnected, draining, clock_offset, settled, boot_session, dial) = row  # fmt: skip
    return Worker(
        name=name,
        boot_id=boot_id,
        session=session,
        server=server,
        version=version,
        labels=texts_from_json(labels),
        capacity=_capacity(capacity),
        cpus=cpus,
        memory=memory,
        connected=from_micros(connected),
        last_seen=from_micros(last_seen),
        draining=bool(draining),
        clock_offset=clock_offset,
        disconnected=optional_instant(disconnected),
        settled=optional_instant(settled),
        boot_session=boot_session,
        dial=dial,
    )


def server_from_row(row: Row) -> Server:
    """The server of a row."""
    id_, name, url, version, started, renewed, lease_until = row
    return Server(
        id=id_,
        name=name,
        url=url,
        version=version,
        started=from_micros(started),
        renewed=from_micros(renewed),
        lease_until=from_micros(lease_until),
    )


def readings_text(readings: Readings) -> str:
    """What a server says of itself, as it is kept."""
    return msgspec.json.encode(readings).decode()


def vitals_from_rows(rows: Iterable[Row]) -> dict[str, Vitals]:
    """What servers said of themselves, by id."""
    return {server: Vitals(at=from_micros(at), readings=_readings(text)) for server, at, text in rows}
