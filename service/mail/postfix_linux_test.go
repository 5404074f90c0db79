package mail

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"yodel/service/mail/spool"
	"yodel/yodeltest"
)

// This server beside Postfix's smtpd and cleanup, with the spool and the queue on the same
// disk, which is TMPDIR's: smtp-source sends with ten senders letters of 4 KiB to the one
// and to the other, by turns. Both have synced a message before they say 250. Nothing
// delivers what is in Postfix's queue, and nothing is logged. One operation is a pair of
// turns; messages/s and the ratio are medians, and a ratio above 1 is better than Postfix.
//
//	go test -run='^$' -bench=DurableBesidePostfix -benchtime=9x ./service/mail
func BenchmarkDurableBesidePostfix(b *testing.B) {
	yodeltest.NeedRoot(b)
	source := yodeltest.NeedProgram(b, "smtp-source")
	postfix := startPostfix(b)
	for _, f := range []spool.Format{spool.Mbox, spool.Maildir} {
		yodel := startChild(b, childConfig{b.TempDir(), f}).addr
		for _, sessions := range []struct {
			name string
			args []string
		}{{"kept", []string{"-d"}}, {"each", nil}} {
			b.Run(string(f)+"/"+sessions.name, func(b *testing.B) {
				loadRate(b, source, postfix, sessions.args) // to start what it starts when it is needed
				var ours, theirs, ratios []float64
				for b.Loop() {
					p := loadRate(b, source, postfix, sessions.args)
					y := loadRate(b, source, yodel, sessions.args)
					ours, theirs, ratios = append(ours, y), append(theirs, p), append(ratios, y/p)
				}
				for _, list := range [][]float64{ours, theirs, ratios} {
					slices.Sort(list)
				}
				b.ReportMetric(ours[len(ours)/2], "messages/s")
				b.ReportMetric(theirs[len(theirs)/2], "postfix-messages/s")
				b.ReportMetric(ratios[len(ratios)/2], "ratio")
				b.ReportMetric(ratios[0], "least")
				b.ReportMetric(ratios[len(ratios)-1], "most")
			})
		}
	}
}

// loadRate has smtp-source send to addr and returns how many messages were stored a second.
func loadRate(b *testing.B, source, addr string, args []string) float64 {
	b.Helper()
	const messages = 400
	args = slices.Concat(args, []string{
		"-s", "10", "-l", "4096", "-m", fmt.Sprint(messages), "-f", "s@example.net", "-t", "alice@example.org", addr,
	})
	from := time.Now()
	if out, err := exec.Command(source, args...).CombinedOutput(); err != nil || len(out) > 0 {
		b.Fatalf("smtp-source: %v\n%s", err, out)
	}
	return messages / time.Since(from).Seconds()
}

const mainCF = `compatibility_level = 3.6
queue_directory = %[1]s/queue
data_directory = %[1]s/data
mail_owner = postfix
setgid_group = postdrop
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = mx.example.org
mydestination = example.org
mynetworks = 127.0.0.0/8
local_recipient_maps =
alias_maps =
alias_database =
in_flow_delay = 0
smtpd_client_connection_count_limit = 0
`

// Without a queue manager what comes stays where it is.
const masterCF = `%s inet n - n - 20 smtpd
cleanup  unix n - n - 0 cleanup
rewrite  unix - - n - - trivial-rewrite
anvil    unix - - n - 1 anvil
proxymap unix - - n - - proxymap
`

// startPostfix starts one with folders of its own, and returns where it listens.
func startPostfix(b *testing.B) (addr string) {
	b.Helper()
	program := yodeltest.NeedProgram(b, "postfix")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	addr = l.Addr().String()
	l.Close()
	dir := b.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o711); err != nil { // its programs have no privilege
		b.Fatal(err)
	}
	for _, name := range []string{"queue", "data", "conf"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			b.Fatal(err)
		}
	}
	ownByPostfix(b, filepath.Join(dir, "data"))
	conf := filepath.Join(dir, "conf")
	for name, text := range map[string]string{"main.cf": fmt.Sprintf(mainCF, dir), "master.cf": fmt.Sprintf(masterCF, addr)} {
		if err := os.WriteFile(filepath.Join(conf, name), []byte(text), 0o644); err != nil {
			b.Fatal(err)
		}
	}
	var said bytes.Buffer
	cmd := exec.Command(program, "-c", conf, "start-fg")
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		exec.Command(program, "-c", conf, "stop").Run()
		cmd.Wait()
	})
	for until, again := time.Now().Add(patience), time.NewTicker(10*time.Millisecond); time.Now().Before(until); <-again.C {
		if nc, err := net.Dial("tcp", addr); err == nil {
			nc.Close()
			return addr
		}
	}
	b.Fatalf("postfix does not listen on %s\n%s", addr, &said)
	return ""
}

func ownByPostfix(b *testing.B, dir string) {
	b.Helper()
	u, err := user.Lookup("postfix")
	if err != nil {
		b.Fatal(err)
	}
	id, err := strconv.Atoi(u.Uid)
	if err == nil {
		err = os.Chown(dir, id, -1)
	}
	if err != nil {
		b.Fatal(err)
	}
}
