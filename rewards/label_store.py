"""The label store: what paid models and people answered, so that nothing is asked twice or lost.

One SQLite file holds three things apart. *Questions* are named by the hash of their canonical
request, in which the hashes of images stand for their bytes. *Answers* are kept raw, as they came,
before anything reads them. *Labels* are what a parser read in an answer; another parser adds its
own and asks nothing again. Every call that writes is one transaction and is on the disk when it
returns (WAL, ``synchronous=FULL``), so a kill loses at most what had not been handed over.

Several workers share the questions by claims with a lease: a claim that ran out, or whose worker
was reported dead, is open to the others.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from embodied.errors import UserError, at_least
from embodied.files import atomic_path, sha256_bytes
from rewards.label_records import ANSWERED, Answer, Label, Question, Spent, canonical

SCHEMA_VERSION = 1
BUSY_TIMEOUT_S = 60.0  # how long a writer waits for another one
TABLES = """
CREATE TABLE question (
    key TEXT PRIMARY KEY, request TEXT NOT NULL, added REAL NOT NULL,
    worker TEXT, lease_ends REAL) WITHOUT ROWID;
CREATE TABLE answer (
    id INTEGER PRIMARY KEY, question TEXT NOT NULL REFERENCES question (key),
    raw TEXT NOT NULL, status INTEGER NOT NULL, model TEXT NOT NULL, time REAL NOT NULL,
    tokens_in INTEGER NOT NULL, tokens_out INTEGER NOT NULL, cost REAL NOT NULL);
CREATE INDEX answer_question ON answer (question, status);
CREATE TABLE label (
    answer INTEGER NOT NULL REFERENCES answer (id), parser TEXT NOT NULL,
    value TEXT, reason TEXT NOT NULL, PRIMARY KEY (answer, parser)) WITHOUT ROWID;
"""
OPEN = f"NOT EXISTS (SELECT 1 FROM answer WHERE question = key AND status = {ANSWERED})"


class LabelStore:
    """A label store in one file; threads may share it, every process opens its own.

    Args:
        path: The file, made where there is none.
        clock: Gives the seconds since the epoch.

    Raises:
        UserError: The file is not a label store, or one of another version.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self.path, self._clock, self._lock = path, clock, threading.RLock()
        try:
            self._base = sqlite3.connect(
                path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
            )
        except sqlite3.OperationalError as error:
            raise UserError(f"{path} cannot be opened ({error}); name another file") from None
        try:
            self._prepare()
        except (sqlite3.DatabaseError, UserError) as error:
            self.close()
            raise UserError(f"{path} is not a label store ({error}); name another file") from None

    def _prepare(self) -> None:
        self._is_new()  # before another program's file is changed in any way
        # Where the file system cannot share memory, SQLite stays with its rollback journal.
        for setting in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            self._base.execute(f"PRAGMA {setting}").fetchall()
        with self._writing():
            if self._is_new():
                for statement in filter(str.strip, TABLES.split(";")):
                    self._base.execute(statement)
                self._base.execute(f"PRAGMA user_version={SCHEMA_VERSION}")

    def _is_new(self) -> bool:
        (version,) = self._base.execute("PRAGMA user_version").fetchone()
        (tables,) = self._base.execute("SELECT count(*) FROM sqlite_master").fetchone()
        new = bool(version == 0 and tables == 0)
        if not new and version != SCHEMA_VERSION:
            raise UserError(f"its version is not {SCHEMA_VERSION}")
        return new

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """One transaction; other writers wait for its end."""
        with self._lock:
            self._base.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._base.execute("ROLLBACK")
                raise
            self._base.execute("COMMIT")

    def _rows(self, query: str, *values: Any) -> list[Any]:
        with self._lock:
            return self._base.execute(query, values).fetchall()

    def close(self) -> None:
        """Close the file."""
        self._base.close()

    def add(self, requests: Iterable[Any]) -> list[str]:
        """Add questions and return their keys; known ones stay as they are."""
        texts = [canonical(request) for request in requests]
        keys = [sha256_bytes(text.encode()) for text in texts]
        now = self._clock()
        with self._writing():
            self._base.executemany(
                "INSERT OR IGNORE INTO question (key, request, added) VALUES (?, ?, ?)",
                [(key, text, now) for key, text in zip(keys, texts, strict=True)],
            )
        return keys

    def claim(
        self, worker: str, count: int, seconds: float, among: Sequence[str] | None = None
    ) -> list[Question]:
        """Claim up to ``count`` unanswered questions, in the order of their keys.

        Args:
            worker: Who claims; what it holds already is not given again.
            count: Most of them.
            seconds: How long the others leave them alone.
            among: Keys of the questions to choose from; all where there are none.
        """
        at_least(1, {"count": count})
        now = self._clock()
        chosen = "" if among is None else " AND key IN (SELECT value FROM json_each(?))"
        keys = () if among is None else (json.dumps(list(among)),)
        with self._writing():
            rows = self._base.execute(
                f"SELECT key, request FROM question WHERE {OPEN} AND "
                f"(lease_ends IS NULL OR lease_ends <= ?){chosen} ORDER BY key LIMIT ?",
                (now, *keys, count),
            ).fetchall()
            self._base.executemany(
                "UPDATE question SET worker = ?, lease_ends = ? WHERE key = ?",
                [(worker, now + seconds, key) for key, _ in rows],
            )
        return [Question(key, json.loads(request)) for key, request in rows]

    def release(self, worker: str) -> int:
        """Open what a worker claimed and did not answer to the others; return how many."""
        with self._writing():
            return self._base.execute(
                f"UPDATE question SET worker = NULL, lease_ends = NULL WHERE worker = ? AND {OPEN}",
                (worker,),
            ).rowcount

    def claimants(self) -> list[str]:
        """Return the workers that hold claims on questions without an answer."""
        query = f"SELECT DISTINCT worker FROM question WHERE worker IS NOT NULL AND {OPEN}"
        return [str(worker) for (worker,) in self._rows(query)]

    def keep(self, key: str, answer: Answer) -> None:
        """Keep an answer, also one that comes after its lease.

        Raises:
            UserError: There is no such question.
        """
        self.keep_many([(key, answer)])

    def keep_many(self, answers: Sequence[tuple[str, Answer]]) -> None:
        """Keep the answers to several questions, all or none.

        Raises:
            UserError: There is no such question.
        """
        now = self._clock()
        rows = [
            (key, a.raw, a.status, a.model, now, a.tokens_in, a.tokens_out, a.cost)
            for key, a in answers
        ]
        with self._writing():
            for key, _ in answers:
                if not self._rows("SELECT 1 FROM question WHERE key = ?", key):
                    raise UserError(f"{self.path} holds no question {key[:12]}; add it first")
            self._base.executemany(
                "INSERT INTO answer (question, raw, status, model, time, tokens_in, "
                "tokens_out, cost) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                rows,
            )

    def answers(self, key: str) -> list[Answer]:
        """Return the answers to a question, oldest first, failed ones too."""
        columns = "raw, status, model, tokens_in, tokens_out, cost"
        query = f"SELECT {columns} FROM answer WHERE question = ? ORDER BY id"
        return [Answer(*row) for row in self._rows(query, key)]

    def unanswered(self, among: Sequence[str] | None = None) -> list[str]:
        """Return the keys of the questions without an answer, of all or of some."""
        chosen = "" if among is None else " AND key IN (SELECT value FROM json_each(?))"
        given = () if among is None else (json.dumps(list(among)),)
        rows = self._rows(f"SELECT key FROM question WHERE {OPEN}{chosen}", *given)
        return [str(key) for (key,) in rows]

    def parse(
        self, parser: str, read: Callable[[str], str], among: Sequence[str] | None = None
    ) -> int:
        """Label every answer that this parser has not read yet; return how many.

        Args:
            parser: Name and version of the parser.
            read: Returns the value that is in a raw answer, or raises ValueError with the reason
                why there is none.
            among: Keys of the questions whose answers are read; all where there are none.
        """
        chosen = "" if among is None else " AND question IN (SELECT value FROM json_each(?))"
        keys = () if among is None else (json.dumps(list(among)),)
        query = (
            f"SELECT id, raw FROM answer WHERE status = {ANSWERED} AND NOT EXISTS "
            f"(SELECT 1 FROM label WHERE answer = answer.id AND parser = ?){chosen}"
        )
        found: list[tuple[int, str, str | None, str]] = []
        for number, raw in self._rows(query, parser, *keys):
            try:
                found.append((number, parser, read(raw), ""))
            except ValueError as error:
                found.append((number, parser, None, str(error)))
        with self._writing():
            self._base.executemany("INSERT OR IGNORE INTO label VALUES (?, ?, ?, ?)", found)
        return len(found)

    def labels(self, parser: str, keys: Sequence[str] | None = None) -> list[Label]:
        """Return the labels of a parser, of all questions or of some, oldest answer first."""
        rows = self._rows(
            "SELECT question, value, reason, parser, model, time FROM label JOIN answer ON "
            "answer.id = label.answer WHERE parser = ? ORDER BY answer.id",
            parser,
        )
        wanted = None if keys is None else set(keys)
        return [Label(*row) for row in rows if wanted is None or row[0] in wanted]

    def requests(self, keys: Sequence[str]) -> dict[str, Any]:
        """Return the canonical requests of questions, by key."""
        chosen = json.dumps(list(keys))
        rows = self._rows(
            "SELECT key, request FROM question WHERE key IN (SELECT value FROM json_each(?))",
            chosen,
        )
        return {str(key): json.loads(request) for key, request in rows}

    def spent(self) -> Mapping[str, Spent]:
        """Return what was spent, by model; failed calls count where they were kept."""
        rows = self._rows(
            "SELECT model, count(*), sum(tokens_in), sum(tokens_out), sum(cost) FROM answer "
            "GROUP BY model ORDER BY model"
        )
        return {model: Spent(*numbers) for model, *numbers in rows}

    def export(self, path: Path, parser: str) -> int:
        """Write the labels of a parser as Parquet, a row each; return how many."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        kinds = {"time": pa.float64()}
        rows = [asdict(label) for label in self.labels(parser)]
        names = list(Label.__dataclass_fields__)
        schema = pa.schema([(name, kinds.get(name, pa.string())) for name in names])
        with atomic_path(path) as temporary:
            pq.write_table(pa.Table.from_pylist(rows, schema=schema), temporary)
        return len(rows)
