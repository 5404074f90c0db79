package enginetest

import (
	"encoding/json"
	"io"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"yodel/engine"
	"yodel/yodeltest"
)

// Some rows are about what a whole process has: descriptors, memory, processor time.
// For these the test runs itself again as a server, which takes orders, lines of JSON,
// on one pipe and answers each with a report on another.

// childService is the environment variable that makes Run a server of that service.
const childService = "YODEL_ENGINETEST_SERVICE"

// What a child finds beside its standard descriptors.
const (
	childListener = 3 + iota
	childOrders
	childReports
)

// order is what a child is told to do, if its field is not zero.
type order struct {
	Limit        int  // set the limit on descriptors
	Hog          bool // open files until there are no descriptors left
	Release      bool // close them
	AcceptErrors int  // wait until so many were counted
	BytesOut     int  // wait until so many were sent
}

// report is how a child is.
type report struct {
	Stats  engine.Stats
	Opened int           // by Hog
	Log    string        // what the engine has logged
	CPU    time.Duration // processor time used
	Heap   int           // bytes that are reached, after a collection
	Sys    int           // bytes that the Go runtime has had of the system at most
	Peak   int           // bytes of memory at most, as the kernel counts; 0: not known
}

// beServer is the child.
func (k *kit) beServer(t *testing.T, service string) {
	f := os.NewFile(childListener, "listener")
	l, err := net.FileListener(f)
	if err != nil {
		t.Fatal(err)
	}
	f.Close() // l has a descriptor of its own
	log := new(logs)
	cfg := &engine.Config{
		Service: service, PoisonLent: true, Log: log.logger(),
		Gate: engine.NewGate(&engine.GateConfig{MaxConns: -1}), // so that descriptors do run out
	}
	e, err := k.mk(Services()[service], cfg)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- e.Serve(l) }()
	c := &child{t: t, engine: e, log: log}
	c.obeyAll(json.NewDecoder(os.NewFile(childOrders, "orders")), json.NewEncoder(os.NewFile(childReports, "reports")))
	e.Close()
	wantErr(t, "Serve", <-served, engine.ErrClosed)
}

type child struct {
	t      *testing.T
	engine engine.Engine
	log    *logs
	hogged []*os.File
}

func (c *child) obeyAll(orders *json.Decoder, reports *json.Encoder) {
	for {
		var o order
		if err := orders.Decode(&o); err != nil {
			if err != io.EOF {
				c.t.Error(err)
			}
			return
		}
		c.obey(o)
		if err := reports.Encode(c.report()); err != nil {
			c.t.Error(err)
			return
		}
	}
}

func (c *child) obey(o order) {
	if o.Limit > 0 {
		if err := limitDescriptors(o.Limit); err != nil {
			c.t.Error(err)
		}
	}
	for o.Hog {
		f, err := os.Open(os.DevNull)
		if err != nil {
			break
		}
		c.hogged = append(c.hogged, f)
	}
	if o.Release {
		for _, f := range c.hogged {
			f.Close()
		}
		c.hogged = nil
	}
	c.await(func(s engine.Stats) bool {
		return s.AcceptErrors >= int64(o.AcceptErrors) && s.BytesOut >= int64(o.BytesOut)
	})
}

// await looks now and then, and not often: what it costs is measured.
func (c *child) await(cond func(engine.Stats) bool) {
	late := time.Now().Add(patience)
	for !cond(c.engine.Stats()) && time.Now().Before(late) {
		<-time.After(20 * time.Millisecond)
	}
}

func (c *child) report() report {
	r := report{Stats: c.engine.Stats(), Opened: len(c.hogged), Log: c.log.text(), CPU: processorTime(), Peak: peakMemory()}
	r.Heap, r.Sys = heap()
	return r
}

// A process is a child as its parent sees it.
type process struct {
	t       testing.TB
	at      place
	orders  *json.Encoder
	reports *json.Decoder
}

// start runs a service in a process of its own; it ends, and must end well, with the
// test.
func (k *kit) start(t *testing.T, service string) *process {
	t.Helper()
	yodeltest.NeedLinux(t)
	at := onTCP(t)
	sock, err := at.Listener.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	at.Close() // the child has it
	ordersR, ordersW := pipe(t)
	reportsR, reportsW := pipe(t)
	cmd := exec.Command(os.Args[0], "-test.run="+exactly(k.test), "-test.timeout=5m")
	cmd.Env = append(os.Environ(), childService+"="+service, "GORACE=atexit_sleep_ms=0")
	cmd.ExtraFiles = []*os.File{sock, ordersR, reportsW}
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for _, f := range cmd.ExtraFiles {
		f.Close()
	}
	t.Cleanup(func() {
		ordersW.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("the server: %v\n%s", err, said.String())
		}
	})
	return &process{t, at, json.NewEncoder(ordersW), json.NewDecoder(reportsR)}
}

func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	return r, w
}

// exactly returns the pattern for -test.run that fits the test of that name alone.
func exactly(test string) string {
	parts := strings.Split(test, "/")
	for i, p := range parts {
		parts[i] = "^" + regexp.QuoteMeta(p) + "$"
	}
	return strings.Join(parts, "/")
}

// tell gives an order and returns the report.
func (p *process) tell(o order) (r report) {
	p.t.Helper()
	if err := p.orders.Encode(o); err != nil {
		p.t.Fatal(err)
	}
	if err := p.reports.Decode(&r); err != nil {
		p.t.Fatalf("the server does not answer: %v", err)
	}
	return r
}

func (p *process) dial() *client {
	p.t.Helper()
	nc, err := p.at.dial()
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(patience))
	return &client{nc, p.t}
}
