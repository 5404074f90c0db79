package main

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"yodel/internal/users"
	"yodel/sock"
)

// labName stands for all services.
const labName = "all"

// A lab is what serve all has made: folders and a user, for as long as it runs.
type lab struct {
	dir            string
	user, password string
}

// takeProgram takes the words behind -- as the program of command.
func (f *serveFlags) takeProgram(cmd *cobra.Command, args []string) ([]string, error) {
	at := cmd.ArgsLenAtDash()
	if at < 0 {
		return args, nil
	}
	words := args[at:]
	if len(words) == 0 || len(f.program) > 0 {
		return nil, usagef("write the program of command once: behind --, or with --program")
	}
	f.program = words
	cmd.Flags().Lookup("program").Changed = true
	return args[:at], nil
}

// serveLab is the command serve all.
func serveLab(cmd *cobra.Command, io std, f *serveFlags, args []string) (err error) {
	switch {
	case len(args) > 1:
		return usagef("all is every service: leave the others out")
	case f.config != "" || f.checkConfig:
		return usagef("serve all makes what it needs: leave --config and --check-config out")
	}
	f.noteGiven(cmd.Flags())
	if f.lab, err = makeLab(f, cmd.Flags()); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(f.lab.dir)) }()
	signal.Ignore(syscall.SIGPIPE)
	return runServe(cmd.Context(), io, f, f.labPlans(), listenForSignals())
}

// makeLab makes the folders and the user, and sets the flags that were not given.
func makeLab(f *serveFlags, fs *pflag.FlagSet) (*lab, error) {
	dir, err := os.MkdirTemp("", "yodel-all-")
	if err != nil {
		return nil, err
	}
	l := &lab{dir: dir, user: "student", password: strings.ToLower(rand.Text()[:12])}
	set := func(name, value string) {
		if flag := fs.Lookup(name); !flag.Changed && err == nil {
			err = flag.Value.Set(value)
			flag.Changed = true
		}
	}
	set("root", filepath.Join(dir, "files"))
	set("cgi", filepath.Join(dir, "programs"))
	set("spool", filepath.Join(dir, "spool"))
	set("users", filepath.Join(dir, "users"))
	set("host-key", filepath.Join(dir, "host-key"))
	set("domain", "localhost")
	set("allow-write", "true")
	if len(f.program) == 0 {
		f.program = []string{"/usr/bin/env"}
	}
	if err == nil {
		err = l.fill()
	}
	if err == nil {
		err = l.give(f)
	}
	if err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	return l, nil
}

// labProgram is a CGI program.
const labProgram = `#!/bin/sh
echo "Content-Type: text/plain"
echo
echo "hello, $REMOTE_ADDR"
`

// fill fills the folder.
func (l *lab) fill() error {
	in := func(name string) string { return filepath.Join(l.dir, name) }
	_, err := users.Set(in("users"), l.user, l.password, "/")
	return errors.Join(err,
		os.Mkdir(in("files"), 0o755), os.Mkdir(in("programs"), 0o755), os.Mkdir(in("spool"), 0o700),
		os.WriteFile(in("files/hello.txt"), []byte("hello there\n"), 0o644),
		os.WriteFile(in("programs/hello"), []byte(labProgram), 0o755), os.Chmod(in("programs/hello"), 0o755),
	)
}

// give gives the folder to whom --user names.
func (l *lab) give(f *serveFlags) error {
	who, err := f.runAs()
	if who == nil || err != nil {
		return err
	}
	return filepath.WalkDir(l.dir, func(path string, _ os.DirEntry, err error) error {
		return errors.Join(err, os.Lchown(path, int(who.UID), int(who.GID)))
	})
}

// labPlans returns a plan for each service, and over UDP and TLS where that is usual. On
// ports from 10000 on they are where they are without an address.
func (f *serveFlags) labPlans() []plan {
	var plans []plan
	add := func(row *serviceRow, network string, wellKnown uint16) {
		at := sock.Address{Network: network, Host: "localhost"}
		if f.base != 0 {
			at.Port = f.base + wellKnown
		}
		plans = append(plans, plan{row: row, addr: at, given: true})
	}
	for i := range services {
		row := &services[i]
		add(row, "tcp", row.port-10000)
		switch row.name {
		case "echo":
			add(row, "udp", row.port-10000)
		case "web":
			add(row, "tls", 443)
		}
	}
	return plans
}

// labLine is a JSON line: who may log in, or a line to type.
type labLine struct {
	Type     string `json:"type"`
	Time     string `json:"time"`
	User     string `json:"user,omitempty"`
	Password string `json:"password,omitempty"`
	Service  string `json:"service,omitempty"`
	Command  string `json:"command,omitempty"`
}

// announce says who may log in, and what to type.
func (l *lab) announce(s *server) {
	now := time.Now().UTC().Format(time.RFC3339Nano)
	lines := []labLine{{Type: "user", Time: now, User: l.user, Password: l.password}}
	for _, sv := range s.served {
		for _, command := range l.lines(sv) {
			lines = append(lines, labLine{Type: "try", Time: now, Service: sv.plan.row.name, Command: command})
		}
	}
	if s.flags.json {
		to := json.NewEncoder(s.io.out)
		for _, line := range lines {
			to.Encode(line)
		}
		return
	}
	fmt.Fprintf(s.io.out, "\nuser %s password %s\n\nnext, in another terminal:\n", l.user, l.password)
	for _, line := range lines[1:] {
		fmt.Fprintf(s.io.out, "  %s\n", line.Command)
	}
	fmt.Fprintln(s.io.out)
}

// lines returns what to type to try a service.
func (l *lab) lines(sv *served) []string {
	port := sv.at.Port
	f := func(format string, args ...any) string { return fmt.Sprintf(format, args...) }
	login := l.user + ":" + l.password
	switch sv.plan.row.name + "/" + sv.at.Network {
	case "echo/udp":
		return []string{f("yodel call udp://localhost:%d", port)}
	case "web/tcp":
		return []string{f("curl http://localhost:%d/hello.txt", port), f("curl http://localhost:%d/cgi-bin/hello", port)}
	case "web/tls":
		return []string{f("curl --insecure https://localhost:%d/hello.txt", port)}
	case "ftp/tcp":
		return []string{
			f("curl --user %s ftp://localhost:%d/hello.txt", login, port),
			f("curl --user %s --upload-file /etc/services ftp://localhost:%d/", login, port),
		}
	case "mail/tcp":
		return []string{
			f("echo hello | curl smtp://localhost:%d --mail-from you@localhost --mail-rcpt %s@localhost --crlf --upload-file -", port, l.user),
			f("yodel mail --spool %s %s 1", filepath.Join(l.dir, "spool"), l.user),
		}
	case "telnet/tcp":
		return []string{f("telnet localhost %d", port)}
	case "ssh/tcp":
		return []string{f("ssh -p %d %s@localhost", port, l.user)}
	}
	return []string{f("yodel call localhost %d", port)}
}
