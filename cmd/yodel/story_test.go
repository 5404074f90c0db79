package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// tracesOf has a client and a server of ours talk, and returns their traces.
func tracesOf(t *testing.T) (client, server string) {
	t.Helper()
	dir := t.TempDir()
	client, server = filepath.Join(dir, "client.jsonl"), filepath.Join(dir, "server.jsonl")
	s := serve(t, "--trace="+server, "upper@127.0.0.1:0")
	r := runYodel(t, "hello\n", "call", "--trace", client, s.address(0))
	wantStatus(t, r, 0)
	s.stop(t)
	return client, server
}

// What story prints is in docs/json.md, and nothing else is.
func TestStoryJSONIsDocumented(t *testing.T) {
	t.Parallel()
	s, _ := readSchema(t)
	client, server := tracesOf(t)
	out := runYodel(t, "", "story", "--json", client, server, saveCapture(t, echoCapture(t))).out
	got := s.check(t, out, "story")
	for _, typ := range typesOf(s, "story") {
		if !got[typ] {
			t.Errorf("no line of type %s came", typ)
		}
	}
	wantFields(t, s, "story", "rowLine", "verdictLine", "partsLine")
}

// The two traces of a connection become one story, with both columns.
func TestStoryOfTraces(t *testing.T) {
	t.Parallel()
	client, server := tracesOf(t)
	page := filepath.Join(t.TempDir(), "story.html")
	r := runYodel(t, "", "story", server, client, "--width", "120", "--html", page)
	wantStatus(t, r, 0)
	for _, want := range []string{"seen at both ends", "connect()", "accept() = ", "verdict: "} {
		if !strings.Contains(r.out, want) {
			t.Errorf("no %q in\n%s", want, r.out)
		}
	}
	if strings.Count(r.out, "verdict: ") != 1 {
		t.Errorf("not one story:\n%s", r.out)
	}
	text, err := os.ReadFile(page)
	if err != nil || !strings.Contains(string(text), "accept() = ") {
		t.Errorf("the page: %v, %d bytes", err, len(text))
	}
	var last map[string]any
	for line := range strings.Lines(runYodel(t, "", "story", "--json", server, client).out) {
		last = nil
		if err := json.Unmarshal([]byte(line), &last); err != nil {
			t.Fatal(err)
		}
	}
	if last["type"] != "verdict" || last["evidence"] != "both" {
		t.Errorf("the last line is %v", last)
	}
}

func TestStoryUsage(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		args   string
		status int
		says   string
	}{
		{"story", 2, "requires at least 1 arg"},
		{"story --remarkable 0s x", 2, "longer than nothing"},
		{"story --width 20 x", 2, "80 characters"},
		{"story --match a=b x", 2, "names of two connections"},
		{"story --only nonsense-port x", 2, "is no port"},
		{"story /nowhere/x.pcap", 1, "no such file"},
	} {
		wantStatus(t, runYodel(t, "", strings.Fields(test.args)...), test.status, test.says)
	}
}
