"""What is done, on disk: a file a piece, written whole, so that a run that is killed loses none."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from halfulp.files import write_text
from proof.keys import key_of
from proof.pieces import Claim, Found, Piece


class Done(NamedTuple):
    """A piece's result, and the seconds that it took."""

    found: Found
    seconds: float


class Store:
    """A folder of results; one of another key, or half written, counts as none."""

    def __init__(self, folder: Path) -> None:
        """``folder`` is made when the first result comes."""
        self.folder = folder

    def get(self, claim: Claim, piece: Piece) -> Done | None:
        """The result of a piece, if it is done and nothing that it depends on has changed."""
        try:
            held = json.loads(self._path(claim, piece).read_text(encoding="utf-8"))
            if held["key"] != key_of(claim, piece):
                return None
            return Done(Found.from_dict(held["found"]), float(held["seconds"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def put(self, claim: Claim, piece: Piece, done: Done) -> None:
        """Keep a result."""
        path = self._path(claim, piece)
        path.parent.mkdir(parents=True, exist_ok=True)
        held = {
            "claim": claim.name, "piece": piece.name, "key": key_of(claim, piece),
            "seconds": round(done.seconds, 3), "found": done.found.to_dict(),
        }  # fmt: skip
        write_text(path, json.dumps(held, indent=1, ensure_ascii=False) + "\n")

    def _path(self, claim: Claim, piece: Piece) -> Path:
        name = sha256(f"{claim.name}\n{piece.name}".encode()).hexdigest()[:16]
        return self.folder / claim.area / f"{name}.json"
