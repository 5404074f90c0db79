package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"yodel/yodeltest"
)

// A front is a service behind a haproxy of its own, and a folder of its client's.
type front struct {
	*running
	url  string // where haproxy listens: host and port
	port string
	dir  string
}

// far is from where the clients of these tests call: neither the server nor haproxy is there.
const far = "127.0.0.5"

// Each service behind the real haproxy takes the client for who it is: in the log's events,
// and in what it tells of it itself.
func TestServicesBehindHAProxy(t *testing.T) {
	t.Parallel()
	yodeltest.NeedProgram(t, "haproxy")
	dir := openFolder(t, map[string]string{"files/a.txt": "the file a\n", "users": "", "keys": ""})
	users, keys := filepath.Join(dir, "users"), filepath.Join(dir, "keys")
	wantStatus(t, runYodel(t, "pass word\n", "passwd", users, "ada"), 0)
	wantOutput(t, "", "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(dir, "key"))
	if err := os.WriteFile(keys, []byte(readFile(t, filepath.Join(dir, "key.pub"))), 0o600); err != nil {
		t.Fatal(err)
	}
	for i, tt := range []struct {
		service string
		flags   []string
		use     func(t *testing.T, f *front)
	}{
		{"echo", nil, func(t *testing.T, f *front) {
			wantStatus(t, runYodel(t, "hello\n", "call", "--verify", "--source="+far, f.url), 0)
		}},
		{"web", nil, func(t *testing.T, f *front) {
			wantOutput(t, "socket pair: ("+far+":", "curl", "-s", "--interface", far, "http://"+f.url+"/")
		}},
		{"web", []string{"--root=" + filepath.Join(dir, "files"), "--access-log=" + filepath.Join(dir, "access")}, func(t *testing.T, f *front) {
			wantOutput(t, "the file a\n", "curl", "-s", "--interface", far, "http://"+f.url+"/a.txt")
			f.await(t, &f.out, `"type":"close"`)
			if text := readFile(t, filepath.Join(dir, "access")); !strings.HasPrefix(text, far+" - - [") {
				t.Errorf("the access log: %q", text)
			}
		}},
		{"ftp", []string{"--anonymous", "--root=" + filepath.Join(dir, "files")}, func(t *testing.T, f *front) {
			// Data goes past haproxy, to where the client has called, and comes from the client.
			for _, args := range [][]string{{}, {"--disable-epsv"}, {"--ftp-port", far}} {
				wantOutput(t, "the file a\n", "curl", append([]string{"-s", "--interface", far, "ftp://" + f.url + "/a.txt"}, args...)...)
			}
		}},
		{"mail", []string{"--domain=example.org", "--spool=" + filepath.Join(dir, "spool")}, func(t *testing.T, f *front) {
			wantOutput(t, "250 2.0.0 stored as ", "swaks", "--local-interface", far, "--server", "127.0.0.1", "--port", f.port, "--helo", "client.example", "--from", "bob@example.net", "--to", "alice@example.org")
			r := runYodel(t, "", "mail", "--spool", filepath.Join(dir, "spool"), "alice", "1")
			wantStatus(t, r, 0)
			if !strings.Contains(r.out, "Received: from client.example (["+far+"])\n") {
				t.Errorf("the message: %s", r.out)
			}
		}},
		{"telnet", []string{"--users=" + users}, func(t *testing.T, f *front) {
			f.script(t, "expect \"login: \"\nsend \"ada\\r\\n\"\nexpect \"password: \"\nsend \"pass word\\r\\n\"\nexpect \"$ \"\nsend \"echo $((40+2))\\r\\n\"\nexpect \"42\\r\\n\"\nsend \"exit\\r\\n\"\nexpect eof\n")
			f.await(t, &f.err, `"?login"?.*service=telnet.*peer=`+far+`:\d+.*user=ada`)
		}},
		{"ssh", []string{"--authorized-keys=" + keys, "--host-key=" + filepath.Join(dir, "host_key")}, func(t *testing.T, f *front) {
			wantOutput(t, "42\n", "ssh", "-F", "none", "-b", far, "-p", f.port, "-i", filepath.Join(dir, "key"), "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none",
				"-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile="+filepath.Join(f.dir, "known"), "ada@127.0.0.1", "echo $((40+2))")
			f.await(t, &f.err, `"?login"?.*service=ssh.*peer=`+far+`:\d+`)
		}},
		{"command", []string{"--program=/bin/sh", "--program=-c", "--program=echo $TCPREMOTEIP; cat"}, func(t *testing.T, f *front) {
			f.script(t, "next \""+far+"\\n\"\nsend \"hello\\n\"\nnext \"hello\\n\"\nclose\nnext eof\n")
		}},
	} {
		t.Run(fmt.Sprint(i, " ", tt.service), func(t *testing.T) {
			t.Parallel()
			s := runs(t, 1, append(tt.flags, proxies, tt.service+"@127.0.0.1:0")...)
			f := &front{running: s, url: haproxy(t, "", s.at[0].Address, "send-proxy-v2"), dir: t.TempDir()}
			f.port = f.url[strings.LastIndexByte(f.url, ':')+1:]
			tt.use(t, f)
			s.await(t, &s.out, `"type":"accept".*"remote":"`+far+`:\d+".*"text":"by way of 127\.0\.0\.1:\d+`)
			s.await(t, &s.out, `"type":"close".*"remote":"`+far+`:\d+"`)
			s.stop(t)
			if strings.Contains(s.out.String(), `"remote":"127.0.0.1:`) {
				t.Errorf("haproxy is taken for the client:\n%s", &s.out)
			}
		})
	}
}

// script plays a script by yodel call.
func (f *front) script(t *testing.T, text string) {
	t.Helper()
	file := filepath.Join(f.dir, "script")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	wantStatus(t, runYodel(t, "", "call", "--source="+far, "--expect="+file, f.url), 0)
}
