package archtest

import "slices"

// yodelArchitecture is the architecture of this module, on two screens.
//
// A new package is written into a layer. A rule is loosened here, where everyone
// sees it, with the reason beside it, and nowhere else.
func yodelArchitecture() architecture {
	return architecture{
		layers:   layers,
		rules:    rules,
		badNames: badNames,
	}
}

var layers = []layer{
	{
		packages: []string{"yodel/rio", "yodel/internal/escape", "yodel/internal/lograte", "yodel/internal/await"},
		why:      "it is the ground that all others stand on: it imports nothing of ours",
	},
	{
		packages: []string{"yodel", "yodel/trace", "yodel/watch/packet"},
		why:      "it is vocabulary: every package speaks it, so it knows none of them",
	},
	{
		packages: []string{
			"yodel/sock", "yodel/service/small", "yodel/watch/pcap",
			"yodel/internal/loop", "yodel/internal/privilege", "yodel/internal/child", "yodel/internal/users",
		},
		why: "sockets, sessions, captures, loops, privileges, programs that are run and files of users are taken one by one by those above, so they do not know each other",
	},
	{
		packages: []string{"yodel/yodeltest/..."},
		why:      "test help is for the tests of all that is above, so it knows none of that",
	},
	{
		packages: []string{"yodel/engine/...", "yodel/service/...", "yodel/call", "yodel/load", "yodel/watch/flow", "yodel/watch/capture"},
		why:      "services, engines and commands meet in cmd and nowhere else, so any service runs on any engine; what two of them need lives below both",
	},
	{
		packages: []string{"yodel/watch"},
		why:      "watch says what packets and flows are to a person; only story and cmd are above it",
	},
	{
		packages: []string{"yodel/story"},
		why:      "story reads what the commands recorded; only cmd is above it",
	},
	{
		packages: []string{
			"yodel/cmd/...", "yodel/examples/...",
			"yodel/internal/archtest", "yodel/internal/libtest", "yodel/internal/faults", "yodel/internal/jury",
		},
		why: "programs and the checks of the whole tree stand alone: what two of them need is a package of its own",
	},
}

// Packages that are programs, where flags, terminals and exits belong.
var programs = []string{"yodel/cmd/...", "yodel/examples/..."}

// Functions that read the clock or wait for it.
var clock = []string{
	"time.Now", "time.Since", "time.Until", "time.Sleep", "time.After",
	"time.AfterFunc", "time.NewTimer", "time.NewTicker", "time.Tick",
}

// Packages that do I/O, or are there only for those who do.
var inputOutput = []string{
	"net/...", "os/...", "syscall", "crypto/tls", "log/...", "path/filepath",
	"io/ioutil", "golang.org/x/sys/...", "golang.org/x/net/...",
}

var rules = []rule{
	// Pure packages.
	{
		in:      []string{"yodel", "yodel/service/small", "yodel/internal/escape", "yodel/watch/packet", "yodel/watch/flow"},
		imports: inputOutput,
		allow:   []string{"net/netip"},
		why:     "what it says is a function of what it heard and when: it does no I/O; take a yodel.Peer, a netip.AddrPort or bytes instead",
	},
	{
		in:   []string{"yodel", "yodel/service/small", "yodel/internal/escape"},
		uses: clock,
		why:  "the engine tells the time: use Input.Now, and Out.WakeAt to be called again",
	},
	{
		in:   []string{"yodel/watch/packet", "yodel/watch/flow", "yodel/watch"},
		uses: clock,
		why:  "the packets tell the time: a capture of last year is analysed as one of now",
	},
	{
		in:   []string{"yodel", "yodel/service/small", "yodel/internal/escape"},
		uses: []string{"go"},
		why:  "an engine may be a single thread: Step starts no goroutine",
	},
	{
		in:      []string{"yodel/service/small"},
		imports: []string{"math/rand/...", "crypto/rand"},
		why:     "chance is not something that it heard: choose by Input.Now or by the Peer, so that a test can foretell the answer",
	},
	{
		in:      []string{"yodel/engine"},
		files:   "core*.go",
		imports: []string{"net/...", "crypto/tls", "log/...", "golang.org/x/sys/..."},
		uses:    append([]string{"go", "os.*", "syscall.*"}, clock...),
		allow:   []string{"net/netip", "os.Err*", "syscall.E[A-Z]*"}, // it classifies errors
		why:     "Core is told what happened and when, and says what to do next: I/O and clocks belong to the engine that owns it",
	},
	{
		in:      []string{"yodel/service/mail"},
		files:   "smtp*.go",
		imports: inputOutput,
		uses:    append([]string{"go"}, clock...),
		allow:   []string{"net/netip"},
		why:     "what SMTP is does no I/O: it is told a line, and the time; conn.go and the spool do the rest",
	},
	{
		in:      []string{"yodel/service/telnet"},
		files:   "machine*.go",
		imports: inputOutput,
		uses:    append([]string{"go"}, clock...),
		why:     "what TELNET is does no I/O: it is told bytes; session.go does the rest",
	},
	{
		in:      []string{"yodel/rio"},
		imports: []string{"net/...", "os/..."},
		why:     "rio works over any io.Reader and io.Writer: a file, a pipe, a socket and a test's buffer are the same to it",
	},
	{
		in:      []string{"yodel/watch/pcap"},
		imports: []string{"net/...", "os/..."},
		allow:   []string{"net/netip"},
		why:     "a capture comes from any io.Reader: a file, standard input, a test's buffer",
	},

	// Who must not know whom, on whatever way.
	{
		in:      []string{"yodel/engine/...", "yodel/internal/loop", "yodel/sock"},
		except:  []string{"yodel/engine/enginetest"}, // it tests engines with real services
		imports: []string{"yodel/service/..."},
		deep:    true,
		why:     "engines and sockets know no protocol: take a yodel.Service",
	},
	{
		in:      []string{"yodel/service/..."},
		imports: []string{"yodel/engine/...", "yodel/internal/loop"},
		deep:    true,
		why:     "a service does not know who runs it: implement yodel.Session, or take a net.Conn",
	},
	{
		in:      []string{"..."},
		except:  programs,
		scope:   everything,
		imports: programs,
		why:     "programs are the end of the road: what others need of one is a package below it",
	},
	{
		in:      []string{"..."},
		scope:   everything,
		imports: []string{"yodel/bench/...", "yodel/tools/..."},
		why:     "bench and tools are modules of their own, so that what they measure with or check with never enters go.mod",
	},
	{
		in:      []string{"..."},
		except:  []string{"yodel/yodeltest/...", "yodel/engine/enginetest"},
		imports: []string{"yodel/yodeltest/...", "yodel/engine/enginetest"},
		why:     "test help does not go into programs: import it from a _test.go file",
	},

	// Other modules, each kept where it belongs.
	{
		in: []string{
			"yodel", "yodel/rio", "yodel/trace", "yodel/internal/escape", "yodel/service/small",
			"yodel/watch/packet", "yodel/watch/pcap", "yodel/watch/flow",
		},
		imports: []string{"other modules"},
		why:     "whoever takes this package as a library takes no other module with it: use the standard library",
	},
	{
		in:     []string{"..."},
		except: programs,
		imports: []string{
			"github.com/spf13/...", "flag", "github.com/pelletier/go-toml/...",
		},
		why: "flags and files of settings are read in cmd, straight into the fields of a package's Config or Options",
	},
	{
		in:      []string{"..."},
		except:  programs,
		imports: []string{"golang.org/x/term", "charm.land/..."},
		uses: []string{
			"os.Stdin", "os.Stdout", "os.Stderr", "fmt.Print", "fmt.Printf", "fmt.Println",
			"log.Print", "log.Printf", "log.Println",
		},
		why: "the logic of a command is free of terminals: take an io.Reader, an io.Writer or a *slog.Logger",
	},
	{
		in:     []string{"..."},
		except: append(slices.Clip(programs), "yodel/engine/process"), // whose Main ends a child, as it says
		uses: []string{
			"os.Exit", "syscall.Exit", "log.Fatal", "log.Fatalf", "log.Fatalln", "runtime.Goexit",
		},
		why: "only a program decides when it ends: return an error",
	},
	{
		in:     []string{"..."},
		except: []string{"yodel/yodeltest/...", "yodel/engine/enginetest"},
		imports: []string{
			"testing/...", "net/http/httptest", "github.com/rogpeppe/go-internal/...",
			"go.uber.org/goleak", "pgregory.net/rapid", "github.com/google/go-cmp/...",
			"github.com/gopacket/...", // a second opinion; what reads packets here is ours
		},
		why: "what serves tests does not go into programs: import it from a _test.go file",
	},
	{
		in:      []string{"..."},
		scope:   everything,
		imports: []string{"C"},
		why:     "everything builds with CGO_ENABLED=0: use golang.org/x/sys",
	},

	// Habits that keep the above true.
	{
		in:    []string{"..."},
		scope: everything,
		uses:  []string{"dot import"},
		why:   "these rules, and readers, see by its package where a name comes from",
	},
	{
		in:    []string{"..."},
		scope: everything,
		uses:  []string{"func init"},
		why:   "nothing registers itself: a table in cmd says what there is",
	},
	{
		in:     []string{"..."},
		scope:  tests,
		uses:   []string{"time.Sleep"},
		unless: "testing/synctest",
		why:    "tests wait for events, not for times: use a channel, a deadline, or testing/synctest",
	},
}

var badNames = []string{
	"util", "utils", "common", "helper", "helpers", "misc", "pkg", "lib", "shared", "base", "netutil", "ioutil",
	"fileutil", "testutil", "types", "interfaces", "models",
}
