//go:build unix

package ftp

import (
	"context"
	"crypto/tls"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"yodel/yodeltest"
)

// A lab is a server with some files, and a folder of a client's own.
type lab struct {
	*rig
	t    *testing.T
	dir  string // the client's
	host string
	port string
}

// The files on both sides: bytes, and lines of text.
var (
	someBytes = pattern(1<<20 + 7)
	someText  = strings.Repeat("a line\nanother\n\n", 1000)
)

func newLab(t *testing.T, cfg Config) *lab { return newLabOn(t, cfg, nil) }

// newLabOn has TLS from the beginning on, if over is set.
func newLabOn(t *testing.T, cfg Config, over *tls.Config) *lab {
	t.Helper()
	cfg.AllowWrite = true
	r := serveOn(t, "127.0.0.1:0", cfg, over)
	l := &lab{rig: r, t: t, dir: t.TempDir()}
	l.host, l.port, _ = net.SplitHostPort(r.addr)
	r.write("remote.bin", someBytes)
	r.write("remote.txt", someText)
	r.write("folder/a.c", "a")
	r.write("folder/b.c", "b")
	r.write("folder/grüße 世界.h", "c")
	for name, content := range map[string]string{"local.bin": someBytes, "local.txt": someText, "rest.bin": "the rest"} {
		if err := os.WriteFile(filepath.Join(l.dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return l
}

// wantHere fails the test if the client has not that.
func (l *lab) wantHere(name, content string) {
	l.t.Helper()
	got, err := os.ReadFile(filepath.Join(l.dir, name))
	if err != nil || string(got) != content {
		l.t.Errorf("%s: %d bytes %q, %v; want %d bytes %q", name, len(got), brief(got), err, len(content), brief([]byte(content)))
	}
}

// run runs a client in its folder, with script as its input. It fails the test if the
// client fails.
func (l *lab) run(script, program string, args ...string) string {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), 2*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, yodeltest.NeedProgram(l.t, program), args...)
	cmd.WaitDelay = time.Second
	cmd.Dir, cmd.Stdin = l.dir, strings.NewReader(script)
	cmd.Env = append(os.Environ(), "HOME="+l.dir, "LC_ALL=C.UTF-8", "TERM=dumb")
	out, err := cmd.CombinedOutput()
	if err != nil {
		l.t.Fatalf("%s %s: %v\n%s", program, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// TLS over active connections is for lftp to show: curl 7.87 and 7.88 forget to begin it.
func TestCurl(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		cfg  Config
		args []string
	}{
		{"EPSV", Config{}, nil},
		{"PASV", Config{}, []string{"--disable-epsv"}},
		{"EPRT", Config{}, []string{"--ftp-port", "127.0.0.1"}},
		{"PORT", Config{}, []string{"--ftp-port", "127.0.0.1", "--disable-eprt"}},
		{"TLS", Config{TLS: serverTLS(), RequireReuse: true}, []string{"--ssl-reqd", "--insecure"}},
		{"TLS 1.2", Config{TLS: serverTLS()}, []string{"--ssl-reqd", "--insecure", "--tls-max", "1.2"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, c.cfg)
			url := "ftp://" + l.addr + "/"
			curl := func(args ...string) string {
				return l.run("", "curl", append(append([]string{"--silent", "--show-error", "--max-time", "30"}, c.args...), args...)...)
			}
			curl(url+"remote.bin", "-o", "got.bin", url+"remote.txt;type=a", "-o", "got.txt")
			l.wantHere("got.bin", someBytes)
			l.wantHere("got.txt", someText)
			curl("-T", "local.bin", url+"new/folder/stored.bin", "--ftp-create-dirs")
			l.wantFile("stored", "new/folder/stored.bin", someBytes)
			curl("-T", "rest.bin", "--append", url+"new/folder/stored.bin")
			l.wantFile("appended", "new/folder/stored.bin", someBytes+"the rest")
			os.WriteFile(filepath.Join(l.dir, "half.bin"), []byte(someBytes[:1000]), 0o644)
			curl("--continue-at", "-", "-o", "half.bin", url+"remote.bin")
			l.wantHere("half.bin", someBytes)
			l.write("half.bin", someBytes[:1000])
			curl("--continue-at", "-", "-T", "local.bin", url+"half.bin")
			l.wantFile("resumed", "half.bin", someBytes)
			curl("-T", "local.txt", "--use-ascii", url+"stored.txt")
			l.wantFile("stored as text", "stored.txt", someText)
			if got := curl("--range", "10-19", url+"remote.bin"); got != someBytes[10:20] {
				t.Errorf("a range: %q", got)
			}
			if got := curl("--list-only", url+"folder/"); got != "a.c\nb.c\ngrüße 世界.h\n" {
				t.Errorf("names: %q", got)
			}
			if got := curl("--head", url+"remote.bin"); !strings.Contains(got, "Content-Length: 1048583\r\n") {
				t.Errorf("head: %q", got)
			}
			curl(url+"folder/", "-Q", "-DELE /folder/a.c", "-Q", "-RNFR /folder/b.c", "-Q", "-RNTO /folder/d.c")
			l.wantNames("deleted, renamed", "folder", "d.c", "grüße 世界.h")
		})
	}
}

func TestCurlLogin(t *testing.T) {
	t.Parallel()
	l := newLab(t, Config{Users: usersFile(t), TLS: serverTLS()})
	l.write("ada/file", "hers")
	if got := l.run("", "curl", "--silent", "--show-error", "--ssl-reqd", "--insecure", "--user", "ada:secret", "ftp://"+l.addr+"/file"); got != "hers" {
		t.Errorf("%q", got)
	}
	err := exec.Command(yodeltest.NeedProgram(t, "curl"), "--silent", "--user", "ada:wrong", "ftp://"+l.addr+"/file").Run()
	if exit, ok := err.(*exec.ExitError); !ok || exit.ExitCode() != 67 { // login denied
		t.Errorf("with a wrong password: %v", err)
	}
}

func TestCurlImplicitTLS(t *testing.T) {
	t.Parallel()
	r := serveOn(t, "127.0.0.1:0", Config{TLS: serverTLS(), AllowWrite: true}, serverTLS())
	r.write("remote.bin", someBytes)
	l := &lab{rig: r, t: t, dir: t.TempDir()}
	l.run("", "curl", "--silent", "--show-error", "--insecure", "ftps://"+r.addr+"/remote.bin", "-o", "got.bin")
	l.wantHere("got.bin", someBytes)
	l.run("", "curl", "--silent", "--show-error", "--insecure", "-T", "got.bin", "ftps://"+r.addr+"/stored.bin")
	l.wantFile("stored", "stored.bin", someBytes)
}

func TestLFTP(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, settings string }{
		{"passive", ""},
		{"active", "set ftp:passive-mode no;"},
		{"PASV", "set ftp:prefer-epsv no;"},
		{"without waiting for replies", "set ftp:sync-mode off;"},
		{"TLS", "set ftp:ssl-force yes; set ftp:ssl-protect-data yes; set ftp:ssl-protect-list yes;"},
		{"TLS, active", "set ftp:passive-mode no; set ftp:ssl-force yes; set ftp:ssl-protect-data yes;"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			cfg := Config{}
			if strings.Contains(c.settings, "ssl") {
				cfg.TLS, cfg.RequireReuse = serverTLS(), true
			}
			l := newLab(t, cfg)
			os.WriteFile(filepath.Join(l.dir, "half.bin"), []byte(someBytes[:1000]), 0o644)
			l.write("half.bin", someBytes[:1000])
			out := l.run("set cmd:fail-exit yes; set net:max-retries 2; set net:timeout 20; set ssl:verify-certificate no;"+c.settings+`
				open ftp://`+l.addr+`
				get remote.bin
				get -a remote.txt
				get -c remote.bin -o half.bin
				pget -n 3 remote.bin -o pieces.bin
				put local.bin -o stored.bin
				put -c local.bin -o half.bin
				put -a local.txt -o stored.txt
				mirror folder mirrored
				mirror -R mirrored copied
				mkdir -p x/y/z
				mv stored.txt x/y/moved.txt
				glob echo folder/*.c
				cls -1 folder
				rm -r folder
				bye
			`, "lftp", "--norc")
			l.wantHere("remote.bin", someBytes)
			l.wantHere("remote.txt", someText)
			l.wantHere("half.bin", someBytes)
			l.wantHere("pieces.bin", someBytes)
			l.wantHere("mirrored/grüße 世界.h", "c")
			l.wantFile("stored", "stored.bin", someBytes)
			l.wantFile("resumed", "half.bin", someBytes)
			l.wantFile("stored as text, and moved", "x/y/moved.txt", someText)
			l.wantNames("mirrored back", "copied", "a.c", "b.c", "grüße 世界.h")
			l.wantNames("what is left", ".", "copied", "half.bin", "remote.bin", "remote.txt", "stored.bin", "x")
			if !strings.Contains(out, "folder/a.c folder/b.c\n") || !strings.Contains(out, "folder/grüße 世界.h\n") {
				t.Errorf("it says %q", out)
			}
		})
	}
}

func TestTnftp(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, settings string }{
		{"passive", "passive on"},
		{"active", "passive off"},
		{"PASV", "epsv4"},
		{"PORT", "epsv4\npassive off"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, Config{})
			os.WriteFile(filepath.Join(l.dir, "half.bin"), []byte(someBytes[:1000]), 0o644)
			l.write("half.bin", someBytes[:1000])
			out := l.run("open "+l.host+" "+l.port+"\nuser anonymous x\n"+c.settings+`
prompt off
binary
get remote.bin
reget remote.bin half.bin
put local.bin stored.bin
restart 1000
put local.bin half.bin
append rest.bin stored.bin
ascii
get remote.txt
put local.txt stored.txt
binary
size remote.bin
modtime remote.bin
cd folder
mget *.c
pwd
mls a.c b.c here.txt
cdup
mkdir new
rename stored.txt new/moved.txt
mput rest.bin
mdelete folder/*.c
rmdir new
ls folder
remopts MLST type
mlst folder
rhelp
rstatus
quit
`, "tnftp", "-n", "-v")
			l.wantHere("remote.bin", someBytes)
			l.wantHere("half.bin", someBytes)
			l.wantHere("remote.txt", someText)
			l.wantHere("b.c", "b")
			l.wantFile("stored", "stored.bin", someBytes+"the rest")
			l.wantFile("resumed", "half.bin", someBytes)
			l.wantFile("stored as text, and moved", "new/moved.txt", someText)
			l.wantFile("put by mput", "rest.bin", "the rest")
			l.wantNames("deleted by mdelete", "folder", "grüße 世界.h")
			for _, want := range []string{"1048583", "550 The folder is not empty.", `"/folder"`, "type=dir; /folder"} {
				if !strings.Contains(out, want) {
					t.Errorf("it does not say %q: %s", want, out)
				}
			}
		})
	}
}

func TestNcftp(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, flag string }{{"passive", "-F"}, {"active", "-E"}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, Config{})
			where := []string{"-u", "anonymous", "-p", "x", "-P", l.port, c.flag}
			ncftp := func(program string, args ...string) string {
				return l.run("", program, append(where[:len(where):len(where)], args...)...)
			}
			ncftp("ncftpget", l.host, ".", "/remote.bin")
			l.wantHere("remote.bin", someBytes)
			ncftp("ncftpget", "-a", l.host, ".", "/remote.txt")
			l.wantHere("remote.txt", someText)
			ncftp("ncftpget", "-R", l.host, ".", "/folder")
			l.wantHere("folder/b.c", "b")
			ncftp("ncftpput", "-m", l.host, "/new", "local.bin")
			l.wantFile("stored", "new/local.bin", someBytes)
			ncftp("ncftpput", "-A", l.host, "/new", "local.bin")
			l.wantFile("appended", "new/local.bin", someBytes+someBytes)
			ncftp("ncftpput", "-R", "-m", l.host, "/copy", "folder")
			l.wantNames("put as a tree", "copy/folder", "a.c", "b.c", "grüße 世界.h")
			if out := l.run("", "ncftpls", "-u", "anonymous", "-p", "x", "-P", l.port, c.flag, "-l", "ftp://"+l.host+"/folder/"); !strings.Contains(out, "a.c") {
				t.Errorf("ncftpls: %q", out)
			}
		})
	}
}

// basicFTP does what a program does with npm's basic-ftp. It knows no active connections.
const basicFTP = `
const ftp = require("basic-ftp"), { Readable } = require("stream");
const [host, port, secure] = process.argv.slice(1);
(async () => {
	const c = new ftp.Client(30000);
	c.ftp.verbose = !!process.env.VERBOSE;
	const access = { host, port: +port, user: "anonymous", password: "x" };
	if (secure) Object.assign(access, { secure: secure === "explicit" ? true : secure, secureOptions: { rejectUnauthorized: false } });
	await c.access(access);
	await c.downloadTo("remote.bin", "remote.bin");
	await c.downloadTo("half.bin", "remote.bin", 1000);
	await c.uploadFrom("local.bin", "stored.bin");
	await c.appendFrom("rest.bin", "stored.bin");
	await c.ensureDir("new/folder");
	await c.uploadFrom(Readable.from(["from a ", "stream"]), "streamed");
	await c.cd("/");
	await c.downloadToDir("mirrored", "folder");
	await c.uploadFromDir("mirrored", "copied");
	await c.rename("copied/a.c", "copied/renamed.c");
	await c.remove("copied/b.c");
	const out = { pwd: await c.pwd(), size: await c.size("remote.bin"), modified: (await c.lastMod("remote.bin")).getTime() > 0, features: [...(await c.features()).keys()] };
	out.list = (await c.list("folder")).map(f => [f.name, f.size, f.isFile, f.modifiedAt instanceof Date]);
	try { await c.downloadTo("x", "no such file"); } catch (e) { out.code = e.code; }
	await c.removeDir("/new");
	c.close();
	console.log(JSON.stringify(out));
})().catch(e => { console.error(e); process.exit(1); });
`

func TestBasicFTP(t *testing.T) {
	t.Parallel()
	node, modules := yodeltest.NeedNode(t, "basic-ftp")
	for _, secure := range []string{"", "explicit", "implicit"} {
		t.Run("TLS "+secure, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, Config{})
			switch secure {
			case "explicit":
				l = newLab(t, Config{TLS: serverTLS(), RequireReuse: true})
			case "implicit":
				l = newLabOn(t, Config{TLS: serverTLS()}, serverTLS())
			}
			os.WriteFile(filepath.Join(l.dir, "half.bin"), []byte(someBytes[:1000]), 0o644)
			out := l.run("", "env", "NODE_PATH="+modules, node, "-e", basicFTP, l.host, l.port, secure)
			l.wantHere("remote.bin", someBytes)
			l.wantHere("half.bin", someBytes)
			l.wantFile("stored", "stored.bin", someBytes+"the rest")
			l.wantNames("mirrored, copied, renamed, removed", "copied", "grüße 世界.h", "renamed.c")
			l.wantNames("what is left", ".", "copied", "folder", "remote.bin", "remote.txt", "stored.bin")
			for _, want := range []string{`"pwd":"/","size":1048583,"modified":true`, `"MLST"`, `["a.c",1,true,true]`, `["grüße 世界.h",1,true,true]`, `"code":550`} {
				if !strings.Contains(out, want) {
					t.Errorf("it does not say %s: %s", want, out)
				}
			}
		})
	}
}
