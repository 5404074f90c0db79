package ftp

import (
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

func TestTransfers(t *testing.T) {
	t.Parallel()
	r := serve(t, Config{AllowWrite: true, Sync: true})
	c := r.login()
	content := pattern(3 << 20)
	c.do("TYPE I", "200")
	c.put("STOR file", content)
	r.wantFile("stored", "file", content)
	if got := c.get("RETR file"); got != content {
		t.Errorf("retrieved %d bytes, %q", len(got), brief([]byte(got)))
	}
	c.do("REST 3000000", "350")
	if got := c.get("RETR file"); got != content[3000000:] {
		t.Errorf("the rest has %d bytes, want %d", len(got), len(content)-3000000)
	}
	if got := c.get("RETR file"); got != content {
		t.Errorf("REST holds for a second transfer: %d bytes", len(got))
	}
	c.do("REST 3145728", "350")
	if got := c.get("RETR file"); got != "" {
		t.Errorf("behind the end there is %q", got)
	}
	c.do("REST 3145729", "350")
	c.data()
	c.do("RETR file", "554 The file has 3145728 bytes only.")
	c.put("STOR file", "short")
	r.wantFile("stored over it", "file", "short")
	c.put("STOR empty", "")
	r.wantFile("nothing stored", "empty", "")
	if got := c.get("RETR empty"); got != "" {
		t.Errorf("an empty file has %q", got)
	}
	r.wantNames("nothing is left behind", ".", "empty", "file")
}

func TestAppend(t *testing.T) {
	t.Parallel()
	r := serve(t, Config{AllowWrite: true})
	r.write("file", "12345")
	os.Chmod(r.path("file"), 0o600)
	c := r.login()
	c.do("TYPE I", "200")
	c.put("APPE file", "678")
	r.wantFile("appended", "file", "12345678")
	c.put("APPE new", "abc")
	r.wantFile("appended to nothing", "new", "abc")
	c.do("REST 3", "350")
	c.put("STOR file", "xyz")
	r.wantFile("resumed", "file", "123xyz")
	c.do("REST 7", "350")
	c.data()
	c.do("STOR file", "554 The file is not that long.")
	c.do("REST 1", "350")
	c.data()
	c.do("STOR none", "554")
	c.do("REST 3", "350")
	c.put("APPE file", "!")
	r.wantFile("APPE after REST appends", "file", "123xyz!")
	if fi, _ := os.Stat(r.path("file")); fi.Mode().Perm() != 0o600 && os.PathSeparator == '/' {
		t.Errorf("the mode was not kept: %v", fi.Mode())
	}
}

func TestText(t *testing.T) {
	t.Parallel()
	r := serve(t, Config{AllowWrite: true})
	c := r.login()
	c.put("STOR file", "a\r\nb\rc\r\n\r")
	r.wantFile("as lines of here", "file", "a\nb\rc\n\r")
	if got := c.get("RETR file"); got != "a\r\nb\rc\r\n\r" {
		t.Errorf("as lines of the network: %q", got)
	}
	c.put("APPE file", "d\r\n")
	r.wantFile("appended", "file", "a\nb\rc\n\rd\n")
}

func TestStoreUnique(t *testing.T) {
	t.Parallel()
	r := serve(t, Config{AllowWrite: true})
	c := r.login()
	names := make(map[string]bool)
	for range 2 {
		nc := c.data()
		name := strings.TrimPrefix(c.do("STOU", "150 FILE: stou-"), "150 FILE: ")
		io.WriteString(nc, "x")
		nc.Close()
		c.want("behind STOU", "226")
		r.wantFile("under the name that was told", name, "x")
		names[name] = true
	}
	if len(names) != 2 {
		t.Error("two have the same name")
	}
}

func TestLists(t *testing.T) {
	t.Parallel()
	r := serve(t, Config{})
	for _, name := range []string{"b.c", "a.c", ".hidden.c", "folder/x", "folder/y", "[1]"} {
		r.write(name, "12345")
		os.Chtimes(r.path(name), time.Time{}, time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC))
	}
	c := r.login()
	const long = "-rw-r--r--   1 ftp      ftp               5 Jan  2  2020 "
	for line, want := range map[string]string{
		"NLST":             ".hidden.c\r\n[1]\r\na.c\r\nb.c\r\nfolder\r\n",
		"NLST -a":          ".hidden.c\r\n[1]\r\na.c\r\nb.c\r\nfolder\r\n",
		"NLST *.c":         "a.c\r\nb.c\r\n",
		"NLST .*.c":        ".hidden.c\r\n",
		"NLST [1]":         "[1]\r\n",
		"NLST [ab].?":      "a.c\r\nb.c\r\n",
		"NLST *.none":      "",
		"NLST folder":      "folder/x\r\nfolder/y\r\n",
		"NLST folder/":     "folder/x\r\nfolder/y\r\n",
		"NLST /folder":     "/folder/x\r\n/folder/y\r\n",
		"NLST folder/*":    "folder/x\r\nfolder/y\r\n",
		"NLST folder/x":    "folder/x\r\n",
		"LIST folder":      long + "x\r\n" + long + "y\r\n",
		"LIST -la folder":  long + "x\r\n" + long + "y\r\n",
		"LIST folder/y":    long + "y\r\n",
		"LIST folder/[x]":  long + "x\r\n",
		"MLSD folder":      "modify=20200102030405;perm=r;size=5;type=file;UNIX.mode=0644; x\r\nmodify=20200102030405;perm=r;size=5;type=file;UNIX.mode=0644; y\r\n",
		"NLST ../../[ab]*": "../../a.c\r\n../../b.c\r\n",
	} {
		if got := c.get(line); got != want {
			t.Errorf("%s: %q, want %q", line, got, want)
		}
	}
	if got := c.get("LIST"); strings.Count(got, "\r\n") != 5 || !strings.Contains(got, "\r\ndrwx") {
		t.Errorf("LIST: %q", got)
	}
	c.talk(talk{
		{"LIST none", "550"},
		{"NLST none/*", "550"},
		{"NLST none", "550"},
		{"NLST []", "550"},
		{"LIST *\x01", "550"},
		{"NLST \x01/*", "550"},
		{"MLSD none", "550"},
		{"MLSD a.c", "501"},
		{"LIST", "425 Say PASV"},
		{"NLST", "425"},
		{"MLSD", "425"},
		{"RETR a.c", "425"},
	})
}

// A folder with more names than are sorted at once is listed whole.
func TestLongList(t *testing.T) {
	t.Parallel()
	r := serve(t, Config{})
	const n = sorted + 1000
	for i := range n {
		f, err := os.Create(r.path(fmt.Sprint(i)))
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	c := r.login()
	seen := make(map[string]bool)
	for line := range strings.Lines(c.get("NLST")) {
		seen[line] = true
	}
	if len(seen) != n {
		t.Errorf("%d names, want %d", len(seen), n)
	}
	text := c.do("STAT /", "213-")
	if lines := strings.Split(text, "\n"); len(lines) != maxStat+2 || lines[maxStat+1] != "213 There are more than 1000: say LIST." {
		t.Errorf("STAT has %d lines, the last %q", len(lines), lines[len(lines)-1])
	}
}

// While a transfer is under way other commands wait, STAT tells how far it is, and ABOR
// ends it.
func TestDuringATransfer(t *testing.T) {
	t.Parallel()
	r := serve(t, Config{AllowWrite: true})
	c := r.login()
	nc := c.data()
	c.do("STOR file", "150")
	io.WriteString(nc, "1234567890")
	until := time.Now().Add(patience)
	for !strings.Contains(c.do("STAT", "211-"), "STOR: 10 bytes in") {
		if time.Now().After(until) {
			t.Fatal("STAT does not tell of the 10 bytes")
		}
	}
	c.send("PWD", "NONE", "STAT")
	nc.Close()
	c.want("the transfer ends", "226 Done: 10 bytes.")
	c.want("PWD had to wait", "257")
	c.want("NONE too", "500")
	c.want("and STAT behind them", "211")

	nc = c.data()
	c.do("STOR other", "150")
	io.WriteString(nc, "half")
	c.raw("PWD\r\n\xff\xf4\xff\xf2ABOR\r\n")
	c.want("the transfer", "426 Aborted.")
	c.want("PWD", "257")
	c.want("the ABOR", "226")
	r.wantNames("nothing half is left", ".", "file")
	c.do("ABOR", "226 There is no transfer.")

	c.passive() // nobody connects
	c.do("RETR file", "150")
	c.send("ABOR")
	c.want("the transfer", "426 Aborted.")
	c.want("the ABOR", "226")
}

// Commands that are sent ahead wait their turn, however many there are.
func TestPipelining(t *testing.T) {
	t.Parallel()
	r := serve(t, Config{})
	r.write("file", "hello")
	c := r.dial()
	c.send("USER ftp", "PASS x", "TYPE I", "PWD")
	for _, want := range []string{"331", "230", "200", "257"} {
		c.want("sent ahead", want)
	}
	nc := c.data()
	c.send("RETR file")
	for range 3 * maxHeld {
		c.send("NOOP")
	}
	c.send("QUIT")
	c.want("RETR", "150")
	io.ReadAll(nc)
	nc.Close()
	c.want("behind RETR", "226")
	for range 3 * maxHeld {
		c.want("each NOOP", "200")
	}
	c.want("QUIT", "221")
	c.wantEnd("behind QUIT")
}

// A client that says QUIT, and hangs up its end, gets its file; one that just hangs up
// does not.
func TestHangUpDuringATransfer(t *testing.T) {
	t.Parallel()
	r := serve(t, Config{AllowWrite: true})
	for _, quits := range []bool{true, false} {
		name := fmt.Sprint("quits-", quits)
		c := r.login()
		nc := c.data()
		c.do("STOR "+name, "150")
		if quits {
			c.send("QUIT")
		}
		c.nc.(*net.TCPConn).CloseWrite()
		if quits {
			io.WriteString(nc, "all of it")
			nc.Close()
			c.want("the transfer", "226")
			c.want("QUIT", "221")
			r.wantFile("stored", name, "all of it")
		} else if _, err := nc.Read(make([]byte, 1)); err == nil {
			t.Error("the data connection goes on")
		} else {
			c.want("the transfer", "426")
		}
		c.wantEnd("then")
	}
	r.wantNames("what was not said goodbye to", ".", "quits-true")
}
