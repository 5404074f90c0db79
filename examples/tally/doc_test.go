package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"yodel/sock"
)

const doc = "../../docs/write-a-service.md"

// A block of Go code in the document, with the link in front of it that names its file.
var block = regexp.MustCompile("(?m)^\\[(\\S+)\\]\\((\\S+)\\)\n```go\n((?s:.*?))^```$")

// The code that the document shows is the code that is tested.
func TestDocumentShowsTheCode(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(doc)
	if err != nil {
		t.Fatal(err)
	}
	found := block.FindAllStringSubmatch(string(text), -1)
	if all := strings.Count(string(text), "```go"); len(found) != all || all < 5 {
		t.Errorf("%d blocks of Go code, %d of them with their file's name in front", all, len(found))
	}
	for _, match := range found {
		name, link, shown := match[1], match[2], match[3]
		if link != "../"+name {
			t.Errorf("%s leads to %s", name, link)
		}
		code, err := os.ReadFile(filepath.Join("../..", filepath.FromSlash(name)))
		if err != nil {
			t.Error(err)
			continue
		}
		if !strings.Contains("\n"+string(code), "\n"+shown) {
			t.Errorf("%s has no such lines:\n%s", name, shown)
		}
	}
}

// build builds the program in a folder beside this one and returns its path.
func build(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name+".exe")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-o", path, ".")
	cmd.Dir = "../" + name
	cmd.Env = append(os.Environ(), "GOWORK=off", "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	// Reading the source tells the go command that this test's result depends on it.
	if _, err := os.ReadFile("../" + name + "/main.go"); err != nil {
		t.Fatal(err)
	}
	return path
}

// start runs a program on a free port until the test ends, and returns where it listens.
func start(t *testing.T, name string) sock.Address {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	cmd := exec.CommandContext(ctx, build(t, name), "127.0.0.1:0")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	_, where, ok := strings.Cut(line, name+" listening on ")
	if !ok {
		t.Fatalf("it says %q, %v", line, err)
	}
	a, err := sock.ParseAddress(strings.TrimSpace(where))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// The programs do what the document says.
func TestProgramsRun(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"tally", "tallyconn"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, err := sock.Dial(t.Context(), start(t, name), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			c.SetDeadline(time.Now().Add(20 * time.Second))
			fmt.Fprint(c, "40\n2\n")
			c.CloseWrite()
			if got, err := io.ReadAll(c); string(got) != "40\n42\n" || err != nil {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
	t.Run("hello", func(t *testing.T) {
		t.Parallel()
		client := &http.Client{Timeout: 20 * time.Second}
		reply, err := client.Get("http://" + start(t, "hello").HostPort() + "/x")
		if err != nil {
			t.Fatal(err)
		}
		defer reply.Body.Close()
		if got, err := io.ReadAll(reply.Body); string(got) != `hello, "/x"` || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
	})
}
