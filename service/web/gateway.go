package web

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"

	"yodel/internal/await"
	"yodel/internal/child"
)

// gateway runs the programs of a folder: the Common Gateway Interface, RFC 3875.
type gateway struct {
	cfg    *Config
	dir    string // absolute, without links
	files  string // the folder of files, likewise; "" for none
	root   *os.Root
	counts *counts

	warnings *warnings

	gathers chan struct{}   // holds one for each body that is gathered
	slots   chan struct{}   // holds one for each program that runs; nil: there is no bound
	runs    sync.WaitGroup  // one for each program
	answers sync.WaitGroup  // one for each that answers still
	over    context.Context // ends when all programs must
	end     context.CancelFunc
}

func openGateway(cfg *Config, counts *counts, w *warnings) (*gateway, error) {
	dir, err := realPath(cfg.CGI)
	if err != nil {
		return nil, fmt.Errorf("web: the folder of programs, --cgi: %w", err)
	}
	g := &gateway{cfg: cfg, dir: dir, counts: counts, warnings: w, gathers: make(chan struct{}, gathersMax)}
	if cfg.Root != "" {
		if g.files, err = realPath(cfg.Root); err != nil {
			return nil, fmt.Errorf("web: the folder of files, --root: %w", err)
		}
	}
	if err := g.checkFolders(); err != nil {
		return nil, err
	}
	if n := cfg.cgiMax(); n > 0 {
		g.slots = make(chan struct{}, n)
	}
	g.over, g.end = context.WithCancel(context.Background())
	g.root, err = os.OpenRoot(dir)
	return g, err
}

// checkFolders refuses a folder into which a client, or anybody, may put programs.
func (g *gateway) checkFolders() error {
	info, err := os.Stat(g.dir)
	switch {
	case err != nil:
		return fmt.Errorf("web: the folder of programs, --cgi: %w", err)
	case !info.IsDir():
		return fmt.Errorf("web: the folder of programs, --cgi %s: not a folder", g.dir)
	case isWritableByAll(info):
		return fmt.Errorf("web: everybody may write to the folder of programs, --cgi %s; chmod o-w mends it", g.dir)
	case g.files == "":
		return nil
	}
	inside, around := below(g.files, g.dir), below(g.dir, g.files)
	switch {
	case around != "":
		return fmt.Errorf("web: the files, --root %s, are in the folder of programs, --cgi %s: give each a folder of its own", g.files, g.dir)
	case inside != "" && g.cfg.Writable:
		return fmt.Errorf("web: clients may write to --root %s, and the programs, --cgi %s, are in it: give them a folder elsewhere", g.files, g.dir)
	}
	return nil
}

func isWritableByAll(info fs.FileInfo) bool {
	return runtime.GOOS != "windows" && info.Mode()&0o002 != 0
}

// check reports why programs can't be run at all: as root, or on this system.
func (g *gateway) check() error {
	if runtime.GOOS == "windows" {
		return fmt.Errorf("web: --cgi: %w on %s", errors.ErrUnsupported, runtime.GOOS)
	}
	if err := (&child.Config{Path: g.dir, User: g.cfg.CGIUser}).Check(); err != nil {
		return fmt.Errorf("web: --cgi: %w (--user)", err)
	}
	return nil
}

// depthMax is how many folders below that of programs a program may be in.
const depthMax = 16

var (
	errMayNotRun = errors.New("it may not be run: chmod +x")
	errAnybodys  = errors.New("everybody may write to it: chmod o-w")
)

// find returns the program that a path names: the first part of it that is a file. What
// follows is the program's.
func (g *gateway) find(u *url.URL) (target, error) {
	rest := strings.TrimPrefix(u.Path, cgiPrefix)
	if strings.ContainsRune(rest, 0) || hasEncodedSlash(u) || foreign(rest) || climbs(rest) {
		return target{}, errNoFile
	}
	name := ""
	for range depthMax {
		part, more, found := strings.Cut(rest, "/")
		if part == "" || part[0] == '.' {
			break
		}
		name, rest = path.Join(name, part), more
		info, err := g.root.Stat(filepath.FromSlash(name))
		switch {
		case err != nil:
			return target{}, err
		case info.IsDir():
			continue
		}
		t := target{name: name}
		if found {
			t.info = "/" + more
		}
		return t, mayRun(info)
	}
	return target{}, errNoFile
}

// climbs reports whether a part of a path leads elsewhere than down.
func climbs(p string) bool {
	for part := range strings.SplitSeq(p, "/") {
		if part == "." || part == ".." {
			return true
		}
	}
	return false
}

func mayRun(info fs.FileInfo) error {
	switch {
	case !info.Mode().IsRegular():
		return errNoFile
	case info.Mode()&0o111 == 0:
		return errMayNotRun
	case isWritableByAll(info):
		return errAnybodys
	}
	return nil
}

// serve runs the program that r asks for and answers with what it says. It returns the
// request to serve instead, where the program names one.
func (g *gateway) serve(a *answer, r *http.Request) (next *http.Request) {
	t, err := g.find(r.URL)
	if err != nil {
		a.refuseBody(r)
		g.notRun(a, r.URL.Path, err)
		return nil
	}
	if !g.takesBody(a, r) {
		return nil
	}
	if !g.enter() {
		g.busy(a, r)
		return nil
	}
	run, err := g.start(a, r, t)
	if err != nil {
		g.leave()
		a.refuseBody(r)
		g.notStarted(a, t, err)
		return nil
	}
	g.answers.Add(1)
	defer run.finish()
	return run.answer()
}

// busy answers a request that there is no room for.
func (g *gateway) busy(a *answer, r *http.Request) {
	g.counts.cgiBusy.Add(1)
	a.refuseBody(r)
	a.Header().Set("Retry-After", "1")
	a.fail(http.StatusServiceUnavailable, "too many programs run")
}

// notRun answers for what is no program.
func (g *gateway) notRun(a *answer, path string, err error) {
	switch {
	case errors.Is(err, errMayNotRun), errors.Is(err, errAnybodys):
		g.warnings.say("CGI program not run", "path", logged(path), "error", err)
		a.fail(http.StatusForbidden, "it is no program that may be run")
		return
	case !errors.Is(err, errNoFile) && !isMissing(err):
		g.warnings.say("CGI program not run", "path", logged(path), "error", logged(err.Error()))
	}
	a.notFound()
}

// lacks are the errors of starting a program that pass.
var lacks = []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.EAGAIN}

func (g *gateway) notStarted(a *answer, t target, err error) {
	g.counts.cgiFailed.Add(1)
	g.warnings.say("CGI program not started", "program", logged(t.name), "error", logged(err.Error()))
	for _, lack := range lacks {
		if errors.Is(err, lack) {
			a.Header().Set("Retry-After", "1")
			a.fail(http.StatusServiceUnavailable, "the program can't be started now")
			return
		}
	}
	a.fail(http.StatusBadGateway, "the program can't be started")
}

// enter takes a place among the programs that run; leave gives it back.
func (g *gateway) enter() bool {
	if g.slots != nil {
		select {
		case g.slots <- struct{}{}:
		default:
			return false
		}
	}
	g.runs.Add(1)
	g.counts.cgiRunning.Add(1)
	return true
}

func (g *gateway) leave() {
	g.counts.cgiRunning.Add(-1)
	if g.slots != nil {
		<-g.slots
	}
	g.runs.Done()
}

// shutdown lets programs answer, ends those that have, and waits for them.
func (g *gateway) shutdown(ctx context.Context) error {
	return await.Done(ctx, func() {
		g.answers.Wait()
		g.close()
	})
}

// close ends all programs and waits for them.
func (g *gateway) close() {
	g.end()
	g.runs.Wait()
}
