// Checks a log's checkpoint and inclusion proofs with npm's @sigstore/verify, and nothing of archive-ledger.
//
//     verify_sigstore.js LOG VKEY OLD_CHECKPOINT CONSISTENCY PROOF...
//
// LOG is a directory or the URL of a C2SP tiled log (a token for it in TOKEN). VKEY and OLD_CHECKPOINT are files, each PROOF a C2SP
// tlog-proof. The package has no consistency proofs: CONSISTENCY is not read. Each proof must lead from the entry that the log has
// at its index to the log's own checkpoint. Exit code 0: sound; 1: not, with the reason.
//
// Both functions are internal to the package, so its version is pinned.

"use strict";

const crypto = require("node:crypto");
const fs = require("node:fs/promises");
const { verifyCheckpoint } = require("@sigstore/verify/dist/tlog/checkpoint.js");
const { verifyMerkleInclusion } = require("@sigstore/verify/dist/tlog/merkle.js");

// An Ed25519 key as X.509 has it begins with this.
const SPKI = Buffer.from("302a300506032b6570032100", "hex");

function demand(condition, what) {
    if (!condition) throw new Error(what);
}

async function get(place, name) {
    place = place.replace(/\/$/, "");
    if (!place.startsWith("http")) return fs.readFile(`${place}/${name}`);
    const headers = process.env.TOKEN ? { Authorization: `Bearer ${process.env.TOKEN}` } : {};
    const answer = await fetch(`${place}/${name}`, { headers });
    demand(answer.ok, `${name}: ${answer.status}`);
    return Buffer.from(await answer.arrayBuffer());
}

function verifier(vkey) {
    const [, name, keyId, encoded] = vkey.trim().match(/^([^+]+)\+([0-9a-f]{8})\+(.+)$/);
    const key = Buffer.from(encoded, "base64");
    demand(key[0] === 1 && key.length === 33, "not an Ed25519 key");
    const hash = crypto.createHash("sha256").update(`${name}\n`).update(key).digest();
    demand(hash.subarray(0, 4).toString("hex") === keyId, "the key id does not fit");
    const publicKey = crypto.createPublicKey({ key: Buffer.concat([SPKI, key.subarray(1)]), format: "der", type: "spki" });
    return { name, logID: hash, publicKey, baseURL: name };
}

function open(note, log) {
    const checkpoint = verifyCheckpoint({ inclusionProof: { checkpoint: { envelope: note } } }, [log]);
    demand(checkpoint.origin === log.name, "another origin");
    return checkpoint;
}

function tilePath(index, width) {
    const groups = [String(index % 1000).padStart(3, "0")];
    for (let rest = Math.floor(index / 1000); rest > 0; rest = Math.floor(rest / 1000)) {
        groups.unshift(`x${String(rest % 1000).padStart(3, "0")}`);
    }
    return groups.join("/") + (width === 256 ? "" : `.p/${width}`);
}

async function entryAt(place, index, size) {
    const bundle = Math.floor(index / 256);
    const width = Math.min(256, size - bundle * 256);
    const content = await get(place, `tile/entries/${tilePath(bundle, width)}`);
    let start = 0;
    for (let place = bundle * 256; start < content.length; place += 1) {
        const end = start + 2 + content.readUInt16BE(start);
        demand(end <= content.length, `bundle ${bundle} is cut off`);
        if (place === index) return content.subarray(start + 2, end);
        start = end;
    }
    throw new Error(`bundle ${bundle} ends before entry ${index}`);
}

async function main([place, vkeyFile, oldFile, , ...proofFiles]) {
    const log = verifier(await fs.readFile(vkeyFile, "utf8"));
    const current = open((await get(place, "checkpoint")).toString(), log);
    open(await fs.readFile(oldFile, "utf8"), log);
    for (const file of proofFiles) {
        const text = await fs.readFile(file, "utf8");
        const [head, note] = [text.slice(0, text.indexOf("\n\n")), text.slice(text.indexOf("\n\n") + 2)];
        const [version, extra, index, ...hashes] = head.split("\n");
        demand(version === "c2sp.org/tlog-proof@v1", `${file} is no proof`);
        const signed = open(note, log);
        demand(signed.logSize === current.logSize && signed.logHash.equals(current.logHash), `${file} leads to another root`);
        const logIndex = index.replace(/^index /, "");
        const entry = await entryAt(place, Number(logIndex), Number(current.logSize));
        demand(Buffer.from(extra.replace(/^extra /, ""), "base64").equals(entry), `${file} has another entry`);
        const inclusionProof = { logIndex, hashes: hashes.map((hash) => Buffer.from(hash, "base64")) };
        verifyMerkleInclusion({ canonicalizedBody: entry, inclusionProof }, current);
    }
    console.log(`sound: ${proofFiles.length} proofs in a log of ${current.logSize} entries`);
}

main(process.argv.slice(2)).catch((error) => {
    console.log(`not sound: ${error.name}: ${error.message}`);
    process.exit(1);
});
