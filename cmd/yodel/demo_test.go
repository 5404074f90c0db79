//go:build unix

package main

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// startDemo starts yodel demo in a process group and with a folder for temporary files
// of its own.
func startDemo(t *testing.T, burst string) (p *started, dir string) {
	t.Helper()
	dir = t.TempDir()
	p = &started{cmd: command(program(t), "demo", "--burst="+burst)}
	p.cmd.Env = append(os.Environ(), "TMPDIR="+dir)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.err
	p.begin(t)
	return p, dir
}

// leavesNothing wants no process of p's group and no file in dir to be left.
func leavesNothing(t *testing.T, p *started, dir string) {
	t.Helper()
	if err := syscall.Kill(-p.cmd.Process.Pid, 0); err != syscall.ESRCH {
		t.Errorf("a process is left: %v", err)
		syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) > 0 {
		t.Errorf("left behind: %v (%v)", files, err)
	}
}

func TestDemo(t *testing.T) {
	t.Parallel()
	p, dir := startDemo(t, "100ms")
	if status := p.wait(t); status != 0 || p.err.String() != "" {
		t.Fatalf("status %d, stderr %q\n%s", status, &p.err, &p.out)
	}
	leavesNothing(t, p, dir)
	conversation := regexp.MustCompile(`listens on (127\.0\.0\.1:\d+)\. A client calls it:

type:hello there
echo:HELLO THERE
type:
Connection closed

The connection was the socket pair \(127\.0\.0\.1:(\d+), (127\.0\.0\.1:\d+)\), and the server saw:

server connected to \S+ \(127\.0\.0\.1\), port (\d+)
server received 12 bytes
`).FindStringSubmatch(p.out.String())
	if conversation == nil || conversation[1] != conversation[3] || conversation[2] != conversation[4] {
		t.Errorf("the conversation is not what the lecture shows, or not the same at both ends: %q\n%s", conversation, &p.out)
	}
	for _, e := range engines.here() {
		for _, conns := range []int{1, 16} {
			if !e.oneAtATime || conns == 1 {
				checkRow(t, p.out.String(), e.name, conns)
			}
		}
	}
	for _, want := range []string{
		`server +bind\(\) +is given a number: 127\.0\.0\.1:\d+\n`, `server +listen\(\) +plugs it in`, `client +connect\(\) +dials`,
		`server +accept\(\) = \d+ +picks up`, `client +write\(\) = 12 +speaks\n`, `server +read\(\) = 12 +hears\n`, `client +close\(\) +hangs up\n`,
		`seen at both ends`, `verdict: `, `(◀─+ SYN, ACK|The wire is not shown)`,
	} {
		if !regexp.MustCompile(want).MatchString(p.out.String()) {
			t.Errorf("the story does not have %s:\n%s", want, &p.out)
		}
	}
	if !strings.Contains(p.out.String(), "How it was measured: ") || !strings.Contains(p.out.String(), "  yodel call localhost 15213 ") {
		t.Errorf("it does not say how it was measured, or what to try next:\n%s", &p.out)
	}
}

// checkRow wants a row of the table for an engine: echoes, and none lost or wrong.
func checkRow(t *testing.T, table, engine string, conns int) {
	t.Helper()
	row := regexp.MustCompile(`(?m)^ *` + engine + ` +` + strconv.Itoa(conns) + ` +(\d+) +(\d+) +(\d+) +(\d+) +[\d.]+ µs +[\d.]+ µs +(.*?) *$`).FindStringSubmatch(table)
	if row == nil {
		t.Errorf("no row for %s with %d connections:\n%s", engine, conns, table)
		return
	}
	if verified, _ := strconv.Atoi(row[1]); verified < 1 || row[2] != "0" || row[3] != "0" {
		t.Errorf("%s with %d connections: %s verified, %s lost, %s wrong", engine, conns, row[1], row[2], row[3])
	}
	if !strings.HasSuffix(row[5], " µs") && row[5] != "not known here" && row[5] != "its children's" {
		t.Errorf("%s: CPU per echo is %q", engine, row[5])
	}
}

// Whoever has seen enough leaves no server behind.
func TestDemoInterrupted(t *testing.T) {
	t.Parallel()
	for _, sig := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		p, dir := startDemo(t, "1m")
		p.await(t, &p.out, `Now a burst of echoes`)
		p.signal(t, sig)
		if status := p.wait(t); status != 130 || p.err.String() != "yodel: interrupted\n" {
			t.Errorf("%v: status %d, stderr %q", sig, status, &p.err)
		}
		leavesNothing(t, p, dir)
	}
}
