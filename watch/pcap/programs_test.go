package pcap_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"yodel/watch/packet"
	"yodel/watch/pcap"
	"yodel/yodeltest"
)

// saved puts a file on disk.
func saved(t *testing.T, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// ask runs a program that must have nothing to complain of, and returns what it says.
func ask(t *testing.T, name string, args ...string) string {
	t.Helper()
	var out, complaints strings.Builder
	cmd := exec.Command(yodeltest.NeedProgram(t, name), args...)
	cmd.Stdout, cmd.Stderr = &out, &complaints
	err := cmd.Run()
	said := strings.ReplaceAll(complaints.String(), "Running as user \"root\" and group \"root\". This could be dangerous.\n", "")
	if err != nil || said != "" {
		t.Fatalf("%s %v: %v: %s", name, args, err, said)
	}
	return out.String()
}

// What is written, tshark and capinfos read without complaint, and find all of it.
func TestWiresharkReadsIt(t *testing.T) {
	t.Parallel()
	path := saved(t, "sample.pcapng", sample(t))
	got := ask(t, "tshark", "-n", "-r", path, "-T", "fields", "-E", "separator=|", "-E", "occurrence=a", "-E", "aggregator=;",
		"-e", "frame.number", "-e", "frame.time_epoch", "-e", "frame.len", "-e", "frame.interface_name", "-e", "frame.comment", "-e", "frame.packet_flags_direction", "-e", "udp.length")
	for i, want := range []string{
		"1|1778051289.123456789|1400|eth0|first;second, with ?|2|13",
		"2|1778051289.123456790|33|tun0||1|13",
		"3|0.000000000|1|tun0|||",
	} {
		if lines := strings.Split(got, "\n"); len(lines) != 4 || strings.ToLower(strings.ReplaceAll(lines[i], "0x0000000", "")) != want {
			t.Errorf("tshark: packet %d: %q, want %q", i+1, lines[i], want)
		}
	}
	about := ask(t, "capinfos", path)
	for _, want := range []string{
		"File type:           Wireshark/... - pcapng", "Number of packets:   3", "Capture hardware:    amd64",
		"Capture oper-sys:    linux", "Capture application: yodel", "Capture comment:     a test", "Number of interfaces in file: 2",
		"Name = eth0", "Description = a cable", "Filter string = tcp port 80", "Operating system = Linux 6",
		"Capture length = 65535", "Time precision = nanoseconds (9)", "Number of stat entries = 1", "Name = tun0",
	} {
		if !strings.Contains(about, want) {
			t.Errorf("capinfos does not say %q:\n%s", want, about)
		}
	}
	if names := ask(t, "tshark", "-r", path, "-q", "-z", "hosts"); !strings.Contains(names, "192.0.2.1\ta.test") || !strings.Contains(names, "2001:db8::1\ta.test") {
		t.Errorf("tshark's hosts: %s", names)
	}
}

// Other programs' files are read: here all that editcap can make of ours.
func TestOtherProgramsFiles(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	w := pcap.NewWriter(&out, nil)
	n, _ := w.AddInterface(&pcap.Interface{LinkType: packet.Ethernet})
	for i := range 5 {
		w.WritePacket(n, &pcap.Packet{Time: at.Truncate(time.Microsecond), Data: []byte(ether), Length: 100 + i})
	}
	w.Flush()
	path := saved(t, "ours.pcapng", out.Bytes())
	for _, format := range []string{"pcap", "nsecpcap", "pcapng"} {
		other := filepath.Join(t.TempDir(), format)
		ask(t, "editcap", "-F", format, path, other)
		file, err := os.ReadFile(other)
		if err != nil {
			t.Fatal(err)
		}
		all, _ := mustRead(t, file)
		for i, p := range all {
			if string(p.Data) != ether || p.Length != 100+i || !p.Time.Equal(at.Truncate(time.Microsecond)) {
				t.Errorf("%s: packet %d: %+v", format, i, p)
			}
		}
		if len(all) != 5 {
			t.Errorf("%s: %d packets", format, len(all))
		}
	}
	other := filepath.Join(t.TempDir(), "modified")
	ask(t, "editcap", "-F", "modpcap", path, other)
	file, _ := os.ReadFile(other)
	if _, _, err := readAll(t, bytes.NewReader(file)); err == nil || !strings.Contains(err.Error(), "modified pcap") {
		t.Errorf("a modified pcap: %v", err)
	}
}

// gopacket's reader and writer are a second opinion.
func TestSecondOpinion(t *testing.T) {
	t.Parallel()
	r, err := pcapgo.NewNgReader(bytes.NewReader(sample(t)), pcapgo.NgReaderOptions{WantMixedLinkType: true})
	if err != nil {
		t.Fatal(err)
	}
	all, _ := mustRead(t, sample(t))
	for i, p := range all {
		data, info, opts, err := r.ReadPacketDataWithOptions()
		if err != nil {
			t.Fatal(err)
		}
		if string(data) != string(p.Data) || info.Length != p.Length || !info.Timestamp.Equal(p.Time) || info.InterfaceIndex != p.Interface.ID ||
			fmt.Sprint(opts.Comments) != fmt.Sprint(p.Comments) {
			t.Errorf("packet %d: gopacket has %+v %+v", i+1, info, opts)
		}
	}

	var out bytes.Buffer
	w, err := pcapgo.NewNgWriterInterface(&out, pcapgo.NgInterface{Name: "eth0", LinkType: layers.LinkTypeEthernet, Filter: "udp", TimestampResolution: 9}, pcapgo.DefaultNgWriterOptions)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.WritePacket(gopacket.CaptureInfo{Timestamp: at, CaptureLength: len(ether), Length: 2000}, []byte(ether)); err != nil {
		t.Fatal(err)
	}
	w.Flush()
	theirs, _ := mustRead(t, out.Bytes())
	if len(theirs) != 1 || string(theirs[0].Data) != ether || !theirs[0].Time.Equal(at) || theirs[0].Length != 2000 || theirs[0].Interface.Name != "eth0" || theirs[0].Interface.Filter != "udp" {
		t.Errorf("%+v", theirs)
	}
}
