package sock

import (
	"context"
	"errors"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestOptionDefaults(t *testing.T) {
	t.Parallel()
	zero, off := (*Options)(nil).clone(), &Options{KeepAliveIdle: -1, UserTimeout: -1, HandshakeTimeout: -1}
	if ka := zero.keepAlive(); !ka.Enable || ka.Idle != 15*time.Second || ka.Interval != 15*time.Second || ka.Count != 4 {
		t.Errorf("keepalive by default: %+v", ka)
	}
	if off.keepAlive().Enable {
		t.Error("keepalive is on where it is off")
	}
	if got := zero.userTimeout(); got != time.Minute {
		t.Errorf("UserTimeout by default: %v", got)
	}
	if got := zero.handshakeTimeout(); got != 10*time.Second {
		t.Errorf("HandshakeTimeout by default: %v", got)
	}
	if off.userTimeout() != 0 || off.handshakeTimeout() != 0 {
		t.Error("a negative time is not off")
	}
	if got := (&Options{UnixMode: 0o4755}).unixMode(); got != 0o755 {
		t.Errorf("UnixMode 4755 is %o", got)
	}
	for in, want := range map[time.Duration]int{time.Second: 1, 1: 1, 1001 * time.Millisecond: 2} {
		if got := seconds(in); got != want {
			t.Errorf("%v is %d seconds, want %d", in, got, want)
		}
	}
}

func TestOptionsAreCopied(t *testing.T) {
	t.Parallel()
	opts := &Options{Family: V4}
	before := *opts
	l := listenOn(t, ":0", opts)
	opts.Family = V6
	if l.opts.Family != V4 {
		t.Error("a Listener sees what is written into its caller's Options later")
	}
	opts.Family = V4
	if !reflect.DeepEqual(*opts, before) {
		t.Errorf("Listen has changed its Options: %+v", opts)
	}
}

func TestFamily(t *testing.T) {
	t.Parallel()
	four, six, mapped := netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("::1"), netip.MustParseAddr("::ffff:127.0.0.1")
	for _, tt := range []struct {
		f                 Family
		name              string
		four, six, mapped bool
	}{{Both, "both", true, true, true}, {V4, "v4", true, false, true}, {V6, "v6", false, true, false}} {
		if tt.f.has(four) != tt.four || tt.f.has(six) != tt.six || tt.f.has(mapped) != tt.mapped || tt.f.String() != tt.name {
			t.Errorf("%v: has %v %v, %v %v, %v %v", tt.f, four, tt.f.has(four), six, tt.f.has(six), mapped, tt.f.has(mapped))
		}
	}
}

// A system without an option: a default is left out, a wish is not.
func TestMissingOption(t *testing.T) {
	t.Parallel()
	missing := sockopt{name: "SO_NOSUCH", opt: absent, instead: "do without"}
	if err := setAll(0, []sockopt{missing}); err != nil {
		t.Errorf("a default: %v", err)
	}
	missing.asked = true
	err := setAll(0, []sockopt{missing})
	if !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), "SO_NOSUCH") || !strings.HasSuffix(err.Error(), ": do without") {
		t.Errorf("a wish: %v", err)
	}
	if err := (&Options{MPTCP: true}).checkMPTCP(0); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("MPTCP on what is no socket: %v", err)
	}
}

func TestHandshakeTimeoutIsTheContextsIfShorter(t *testing.T) {
	t.Parallel()
	l := listenOn(t, "127.0.0.1:0", nil)
	a := l.Address()
	a.Network = "tls"
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := Dial(ctx, a, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}
