"""Checks a log with pymerkle and cryptography, and nothing of archive-ledger.

usage: verify_pymerkle.py LOG VKEY OLD_CHECKPOINT CONSISTENCY PROOF...

LOG is a directory or the URL of a C2SP tiled log (a token for it in TOKEN). VKEY and OLD_CHECKPOINT are files, CONSISTENCY
is the answer of /api/ledger/consistency, each PROOF a C2SP tlog-proof. Exit code 0: sound; 1: not, with the reason.
"""

import base64
import hashlib
import json
import os
import sys
import urllib.request

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pymerkle import InmemoryTree, verify_consistency, verify_inclusion


class Unsound(Exception):
    pass


def demand(condition, what):
    if not condition:
        raise Unsound(what)


class Log:
    def __init__(self, place):
        self.place = place.rstrip("/")

    def get(self, name):
        if not self.place.startswith("http"):
            with open(os.path.join(self.place, name), "rb") as file:
                return file.read()
        request = urllib.request.Request(f"{self.place}/{name}")
        if os.environ.get("TOKEN"):
            request.add_header("Authorization", "Bearer " + os.environ["TOKEN"])
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.read()


def open_note(vkey, note):
    name, key_id, key = vkey.strip().split("+", 2)
    key = base64.b64decode(key, validate=True)
    demand(key[0] == 1, "not an Ed25519 key")
    expected = hashlib.sha256(name.encode() + b"\n" + key).digest()[:4]
    demand(expected.hex() == key_id, "the key id does not fit")
    text, signatures = note[: note.rindex("\n\n") + 1], note[note.rindex("\n\n") + 2 :]
    for line in signatures.splitlines():
        dash, signer, signature = line.split(" ")
        signature = base64.b64decode(signature, validate=True)
        if (dash, signer, signature[:4]) == ("\u2014", name, expected):
            try:
                Ed25519PublicKey.from_public_bytes(key[1:]).verify(signature[4:], text.encode())
            except InvalidSignature:
                raise Unsound("the signature does not fit") from None
            return name, text
    raise Unsound("not signed by this key")


def checkpoint(vkey, note):
    name, text = open_note(vkey, note)
    origin, size, root = text.split("\n")[:3]
    demand(origin == name, "another origin")
    return int(size), base64.b64decode(root, validate=True)


def tile_path(index, width):
    groups = [f"{index % 1000:03}"]
    index //= 1000
    while index:
        groups.insert(0, f"x{index % 1000:03}")
        index //= 1000
    return "/".join(groups) + ("" if width == 256 else f".p/{width}")


def entries(log, size):
    for index in range((size + 255) // 256):
        width = min(256, size - index * 256)
        bundle, found = log.get("tile/entries/" + tile_path(index, width)), []
        while bundle:
            length = int.from_bytes(bundle[:2], "big")
            demand(len(bundle) >= 2 + length, f"bundle {index} is cut off")
            found.append(bundle[2 : 2 + length])
            bundle = bundle[2 + length :]
        demand(len(found) == width, f"bundle {index} has {len(found)} entries")
        yield from found


def node(left, right):
    return hashlib.sha256(b"\x01" + left + right).digest()


def climb(fn, sn, path, pair):
    """What RFC 9162 does with the rest of a proof: 2.1.3.2 and 2.1.4.2."""
    for digest in path:
        demand(sn > 0, "the proof is too long")
        on_the_right = fn & 1 or fn == sn
        pair(digest, on_the_right)
        while on_the_right and fn and not fn & 1:
            fn, sn = fn >> 1, sn >> 1
        fn, sn = fn >> 1, sn >> 1
    demand(sn == 0, "the proof is too short")


def check_inclusion(leaf, index, size, path, root):
    """pymerkle's own proofs are not those of RFC 9162 for every size, so proofs that are given are checked here."""
    demand(index < size, "the index is not in the tree")
    found = [leaf]
    climb(index, size - 1, path, lambda digest, right: found.append(node(digest, found[-1]) if right else node(found[-1], digest)))
    demand(found[-1] == root, "the inclusion proof leads to another root")


def check_consistency(first, first_root, second, second_root, path):
    if first in (0, second):
        demand(not path and (first == 0 or first_root == second_root), "another consistency proof")
        return
    if first & (first - 1) == 0:
        path = [first_root, *path]
    demand(path, "the consistency proof is empty")
    fn, sn = first - 1, second - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    old, new = [path[0]], [path[0]]

    def pair(digest, right):
        if right:
            old.append(node(digest, old[-1]))
            new.append(node(digest, new[-1]))
        else:
            new.append(node(new[-1], digest))

    climb(fn, sn, path[1:], pair)
    demand((old[-1], new[-1]) == (first_root, second_root), "the consistency proof leads to other roots")


def main(place, vkey_file, old_file, consistency_file, *proof_files):
    log, vkey = Log(place), open(vkey_file, encoding="utf-8").read()
    size, root = checkpoint(vkey, log.get("checkpoint").decode())
    tree = InmemoryTree.init_from_entries(list(entries(log, size)))
    demand(tree.get_size() == size, "another size")
    demand(tree.get_root() == root, "the entries do not have the signed root")
    for index in range((size + 255) // 256):
        width = min(256, size - index * 256)
        leaves = b"".join(tree.get_leaf(index * 256 + n + 1) for n in range(width))
        demand(log.get("tile/0/" + tile_path(index, width)) == leaves, f"tile {index} has other hashes")

    old_size, old_root = checkpoint(vkey, open(old_file, encoding="utf-8").read())
    demand(tree.get_root(old_size) == old_root, "the log does not go on from the old checkpoint")
    proof = tree.prove_consistency(old_size, size)
    verify_consistency(old_root, root, proof, old_size, size)
    given = json.load(open(consistency_file, encoding="utf-8"))
    demand((given["from"], given["to"]) == (old_size, size), "the proof is of other sizes")
    check_consistency(old_size, old_root, size, root, [base64.b64decode(digest) for digest in given["proof"]])

    for file in proof_files:
        lines = open(file, encoding="utf-8").read()
        head, note = lines.split("\n\n", 1)
        head = head.split("\n")
        demand(head[0] == "c2sp.org/tlog-proof@v1", f"{file} is no proof")
        extra = base64.b64decode(head[1].removeprefix("extra "))
        index = int(head[2].removeprefix("index "))
        demand(checkpoint(vkey, note) == (size, root), f"{file} leads to another root")
        leaf = tree.hash_buff(extra)
        demand(tree.get_leaf(index + 1) == leaf, f"{file} has another entry")
        proof = tree.prove_inclusion(index + 1, size)
        verify_inclusion(leaf, root, proof, index + 1, size)
        check_inclusion(leaf, index, size, [base64.b64decode(digest) for digest in head[3:]], root)
    print(f"sound: {size} entries, {len(proof_files)} proofs")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except Exception as error:  # whatever is wrong with a log must not pass
        print(f"not sound: {type(error).__name__}: {error}")
        sys.exit(1)
