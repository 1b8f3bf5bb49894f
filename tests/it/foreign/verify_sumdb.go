// Checks a log with Go's sumdb packages note and tlog, and nothing of archive-ledger.
//
//	verify_sumdb LOG VKEY OLD_CHECKPOINT CONSISTENCY PROOF...
//
// LOG is a directory or the URL of a C2SP tiled log (a token for it in TOKEN). VKEY and OLD_CHECKPOINT are files, CONSISTENCY is
// the answer of /api/ledger/consistency, each PROOF a C2SP tlog-proof. Exit code 0: sound; 1: not, with the reason.
//
// Of tlog only TreeHash, CheckTree and CheckRecord are trusted here: the reader of tiles in the version that Debian has can be
// fooled (CVE-2026-56865).
package main

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Println("not sound:", err)
		os.Exit(1)
	}
}

func get(place, name string) ([]byte, error) {
	place = strings.TrimRight(place, "/")
	if !strings.HasPrefix(place, "http") {
		return os.ReadFile(place + "/" + name)
	}
	request, err := http.NewRequest("GET", place+"/"+name, nil)
	if err != nil {
		return nil, err
	}
	if token := os.Getenv("TOKEN"); token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != 200 {
		return nil, fmt.Errorf("%s: %s", name, answer.Status)
	}
	return io.ReadAll(answer.Body)
}

func checkpoint(signed []byte, key note.Verifier) (int64, tlog.Hash, error) {
	var root tlog.Hash
	opened, err := note.Open(signed, note.VerifierList(key))
	if err != nil {
		return 0, root, err
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) < 4 || lines[0] != key.Name() {
		return 0, root, fmt.Errorf("no checkpoint of %s", key.Name())
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil {
		return 0, root, err
	}
	root, err = tlog.ParseHash(lines[2])
	return size, root, err
}

func hashes(encoded []string) ([]tlog.Hash, error) {
	var decoded []tlog.Hash
	for _, text := range encoded {
		hash, err := tlog.ParseHash(text)
		if err != nil {
			return nil, err
		}
		decoded = append(decoded, hash)
	}
	return decoded, nil
}

// Entries of bundle n, whose tile has this width.
func bundle(place string, n int64, width int) ([][]byte, error) {
	tile := tlog.Tile{H: 8, L: -1, N: n, W: width}
	// tlog calls it tile/8/data/N, C2SP tile/entries/N; the number is written alike.
	content, err := get(place, "tile/entries/"+strings.TrimPrefix(tile.Path(), "tile/8/data/"))
	if err != nil {
		return nil, err
	}
	var entries [][]byte
	for len(content) > 0 {
		if len(content) < 2 || len(content) < 2+int(binary.BigEndian.Uint16(content)) {
			return nil, fmt.Errorf("bundle %d is cut off", n)
		}
		length := int(binary.BigEndian.Uint16(content))
		entries = append(entries, content[2:2+length])
		content = content[2+length:]
	}
	if len(entries) != width {
		return nil, fmt.Errorf("bundle %d has %d entries", n, len(entries))
	}
	return entries, nil
}

func run(args []string) error {
	if len(args) < 4 {
		return fmt.Errorf("usage: LOG VKEY OLD_CHECKPOINT CONSISTENCY PROOF...")
	}
	place := args[0]
	vkey, err := os.ReadFile(args[1])
	if err != nil {
		return err
	}
	key, err := note.NewVerifier(strings.TrimSpace(string(vkey)))
	if err != nil {
		return err
	}
	signed, err := get(place, "checkpoint")
	if err != nil {
		return err
	}
	size, root, err := checkpoint(signed, key)
	if err != nil {
		return err
	}
	var stored []tlog.Hash
	reader := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		var found []tlog.Hash
		for _, index := range indexes {
			if index >= int64(len(stored)) {
				return nil, fmt.Errorf("hash %d is not there", index)
			}
			found = append(found, stored[index])
		}
		return found, nil
	})
	for start := int64(0); start < size; start += 256 {
		width := 256
		if size-start < 256 {
			width = int(size - start)
		}
		entries, err := bundle(place, start/256, width)
		if err != nil {
			return err
		}
		for n, entry := range entries {
			more, err := tlog.StoredHashes(start+int64(n), entry, reader)
			if err != nil {
				return err
			}
			stored = append(stored, more...)
		}
	}
	rebuilt, err := tlog.TreeHash(size, reader)
	if err != nil {
		return err
	}
	if rebuilt != root {
		return fmt.Errorf("the entries do not have the signed root")
	}

	old, err := os.ReadFile(args[2])
	if err != nil {
		return err
	}
	oldSize, oldRoot, err := checkpoint(old, key)
	if err != nil {
		return err
	}
	if rebuilt, err = tlog.TreeHash(oldSize, reader); err != nil || rebuilt != oldRoot {
		return fmt.Errorf("the log does not go on from the old checkpoint (%v)", err)
	}
	answer, err := os.ReadFile(args[3])
	if err != nil {
		return err
	}
	var consistency struct {
		From, To int64
		Proof    []string
	}
	if err := json.Unmarshal(answer, &consistency); err != nil {
		return err
	}
	proof, err := hashes(consistency.Proof)
	if err != nil {
		return err
	}
	if err := tlog.CheckTree(proof, size, root, oldSize, oldRoot); err != nil {
		return fmt.Errorf("the consistency proof: %v", err)
	}

	for _, file := range args[4:] {
		content, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		head, signed, _ := bytes.Cut(content, []byte("\n\n"))
		lines := strings.Split(string(head), "\n")
		if len(lines) < 3 || lines[0] != "c2sp.org/tlog-proof@v1" {
			return fmt.Errorf("%s is no proof", file)
		}
		entry, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(lines[1], "extra "))
		if err != nil {
			return err
		}
		index, err := strconv.ParseInt(strings.TrimPrefix(lines[2], "index "), 10, 64)
		if err != nil {
			return err
		}
		path, err := hashes(lines[3:])
		if err != nil {
			return err
		}
		proofSize, proofRoot, err := checkpoint(signed, key)
		if err != nil {
			return err
		}
		if err := tlog.CheckRecord(path, proofSize, proofRoot, index, tlog.RecordHash(entry)); err != nil {
			return fmt.Errorf("%s: %v", file, err)
		}
		if index >= size || stored[tlog.StoredHashIndex(0, index)] != tlog.RecordHash(entry) {
			return fmt.Errorf("%s has another entry", file)
		}
	}
	fmt.Printf("sound: %d entries, %d proofs\n", size, len(args)-4)
	return nil
}
