package ftp

import (
	"bytes"
	"context"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"yodel/internal/users"
)

func TestBeforeLogin(t *testing.T) {
	t.Parallel()
	c := serve(t, Config{}).dial()
	c.talk(talk{
		{"PWD", "530 Log in"},
		{"PASS x", "503 Say USER first."},
		{"STAT", "211-yodel FTP\n Connected from 127.0.0.1:"},
		{"STAT /", "530"},
		{"SYST", "215 UNIX Type: L8"},
		{"NOOP", "200"},
		{"NOOP again", "200"},
		{"ACCT x", "202"},
		{"HELP", "214-The commands are\n ABOR ACCT ALLO"},
		{"HELP stor", "214 It is STOR path."},
		{"HELP NONE", "502"},
		{"HELP CCC", "502"},
		{"FEAT", "211-There are\n EPRT\n EPSV\n MDTM\n MFMT\n MLST modify*;perm*;size*;type*;UNIX.mode*;\n REST STREAM\n SIZE\n TVFS\n UTF8\n211 End."},
		{"OPTS UTF8 ON", "200"},
		{"OPTS UTF8", "200"},
		{"OPTS UTF8 OFF", "501"},
		{"OPTS MLST size;type;", "200 MLST OPTS size;type;"},
		{"OPTS MLST", "200 MLST OPTS "},
		{"OPTS NONE", "501"},
		{"AUTH TLS", "502 There is no TLS here."},
		{"AUTH KERBEROS", "504"},
		{"PBSZ 0", "503"},
		{"PROT P", "503"},
		{"ABOR", "226"},
		{"USER eve", "530 Only anonymous"},
		{"USER", "501 It is USER name."},
		{"USER anonymous", "331"},
		{"PASS", "230"},
		{"USER anonymous", "503 You are logged in already."},
		{"PASS x", "503"},
		{"QUIT", "221"},
	})
	c.wantEnd("behind QUIT")
}

func TestUsers(t *testing.T) {
	t.Parallel()
	r := serve(t, Config{Users: usersFile(t), AllowWrite: true, Anonymous: true})
	r.write("secret", "not for ada")
	r.write("ada/file", "hers")
	c := r.dial()
	c.talk(talk{{"USER ada", "331"}, {"PASS wrong", "530 That is not"}, {"PASS secret", "503"}, {"USER ada", "331"}, {"PASS secret", "230"}, {"PWD", `257 "/"`}})
	if got := c.get("NLST"); got != "file\r\n" {
		t.Errorf("ada sees %q", got)
	}
	c.talk(talk{{"RETR /secret", "550"}, {"RETR ../secret", "550"}, {"CWD ..", `250 You are in "/".`}, {"MKD new", "257"}})
	r.wantNames("in ada's home", "ada", "file", "new")
	c = r.login()
	c.do("RETR secret", "425")
	c.do("MKD new", "550 Nothing may be changed here.") // beside users, anonymous may only read
}

func TestUserWithoutHome(t *testing.T) {
	t.Parallel()
	c := serve(t, Config{Users: usersFile(t)}).dial()
	c.talk(talk{{"USER anonymous", "331"}, {"PASS x", "530"}, {"USER ada", "331"}, {"PASS secret", "530 Your home is not there."}})
}

// C5: too many failures end the connection.
func TestTooManyFailures(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	r := serve(t, Config{Users: usersFile(t), Log: slog.New(slog.NewTextHandler(&log, nil))})
	c := r.dial()
	c.talk(talk{{"USER ada", "331"}, {"PASS a", "530"}, {"USER e\x1b[mve", "331"}, {"PASS b", "530"}, {"USER ada", "331"}, {"PASS c", "421"}})
	c.wantEnd("behind 421")
	r.eng.Close()
	if text := log.String(); !strings.Contains(text, "login failed") || strings.Contains(text, "\x1b") || strings.Contains(text, "PASS") {
		t.Errorf("the log: %s", text)
	}
	c = serve(t, Config{MaxFailures: 1}).dial()
	c.do("USER eve", "421")
	c.wantEnd("behind 421")
}

// Who waits for the delay behind a failure is let go when the server ends.
func TestLoginIsLetGo(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "users")
	if _, err := users.Set(path, "ada", "secret", ""); err != nil {
		t.Fatal(err)
	}
	slow, err := users.Open(path, &users.Config{Delay: time.Hour, Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	r := serve(t, Config{Users: slow})
	c := r.dial()
	c.talk(talk{{"USER ada", "331"}, {"PASS wrong", "530"}, {"USER ada", "331"}})
	c.send("PASS secret")
	r.srv.Close()
	c.want("at the end of the server", "421")
}

func canceled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// C5: more sessions than there may be.
func TestMaxSessions(t *testing.T) {
	t.Parallel()
	r := serve(t, Config{MaxSessions: 1})
	a := r.dial()
	b := r.connect()
	b.want("a second one", "421 Too many users")
	b.wantEnd("behind 421")
	a.do("QUIT", "221")
	a.wantEnd("behind QUIT")
	until := time.Now().Add(patience)
	for time.Now().Before(until) { // the first may still be on its way out
		if c := r.connect(); strings.HasPrefix(c.reply(), "220") {
			return
		}
	}
	t.Error("there is no room when the first has left")
}
