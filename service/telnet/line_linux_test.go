package telnet

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"testing"
	"time"

	"yodel/yodeltest"
)

// atLines is what a person does with the real client in LINEMODE: its own editing, keys
// for signals, an end of file, a password, a program that wants each key, and both of the
// client's modes.
const atLines = loginByExpect + `
	proc status {args} { send "\035"; want "telnet> "; send "status\r"; foreach text $args { want $text }; want "Escape" }
	proc mode {name} { send "\035"; want "telnet> "; send "mode $name\r" }
	want "ready\r\n"
	status "with LINEMODE" "ocal line editing" "ocal catching of signals"
	send "abx\177c\r"
	want "abx\010 \010c\r\n<abc>\r\n"
	send "\003"
	want "interrupted"
	send "\034"
	want "quit"
	send "typed before"
	send "\004\004"
	want "<typed before>"
	send "secret\r"
	want "password: "
	send "hidden\r"
	expect -re "^(.*)got hidden" { if {[string match *hidden* $expect_out(1,string)]} { puts "the password is shown"; exit 1 } }
	send "key\r"
	want "press: "
	status "with LINEMODE" "No line editing"
	send "q"
	want "key q\r\n"
	send "cat\r"
	want "cat\r\n"
	send "one\r"
	want "one\r\none\r\n"
	send "\004"
	want "cat 0\r\n"
	mode character
	status "single character mode"
	send "abx\177c\r"
	want "<abc>\r\n"
	send "\003"
	want "interrupted"
	mode line
	send "settled\r"
	want "<settled>\r\n"
	status "with LINEMODE" "ocal line editing"
	send "again\r"
	want "<again>\r\n"
	send "\035"
	want "telnet> "
	send "send synch\r"
	send "synched\r"
	want "<synched>\r\n"
	send "end\r"
	want "over"
	expect eof
`

// program is what sits at the terminal.
const program = `trap 'echo interrupted' INT; trap 'echo quit' QUIT; stty -echoctl; echo ready
	while [ "$line" != end ]; do
		read -r line
		case $line in
		secret) stty -echo; printf 'password: '; read -r x; stty echo; echo; echo "got $x" ;;
		key) stty -icanon -echo min 1; printf 'press: '; k=$(dd bs=1 count=1 2>/dev/null); stty icanon echo; echo "key $k" ;;
		cat) cat; echo "cat $?" ;;
		*) echo "<$line>" ;;
		esac
	done; echo over`

func TestRealTelnetInLineMode(t *testing.T) {
	t.Parallel()
	expect, path := yodeltest.NeedProgram(t, "expect"), yodeltest.NeedProgram(t, "inetutils-telnet")
	r := serve(t, program, Config{LineMode: true})
	_, port, _ := net.SplitHostPort(r.addr.String())
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, expect, "-c", fmt.Sprintf(atLines, path, port))
	cmd.WaitDelay = time.Second
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "TERM=vt220")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s\nthe server's log:\n%s", err, out, r.log)
	}
}

// line begins a session in LINEMODE as a client that sends whole lines does.
func (r *rig) line() *client {
	r.t.Helper()
	c := r.call()
	c.say("\xff\xfb\x22\xff\xfd\x01" + slc("\x03\x02\x18\x0a\x02\x08")) // interrupt: ^X; erase: ^H
	return c.login()
}

// A terminal in LINEMODE has the client's keys; a program that reads lines gets one at a
// time, also of those typed before, and an end of file alone; an interrupt throws away
// what it has not got.
func TestLinesAreReadOneByOne(t *testing.T) {
	t.Parallel()
	r := serve(t, `trap 'stop=1' INT; stty -a | tr ';' '\n' | grep -E 'intr|erase'; echo ready
		get() { dd bs=1000 count=1 2>/dev/null | tr '\n' '.'; echo "<"; }
		read -r x; get; get; get; get; get; read -r x; echo "[$x]"; while [ -z "$stop" ]; do sleep 0.02; done; echo interrupted; get; echo over`, Config{LineMode: true})
	c := r.line()
	c.want(`intr = \^X\r\n`)
	c.want(`erase = \^H\r\n`)
	c.want("ready\r\n")
	c.say("go\r\none\r\ntwo\r\n\xff\xecthree\xff\xec\xff\xec" + "last\r\n")
	c.want(`^one\.<\r\ntwo\.<\r\n<\r\nthree<\r\n<\r\n\[last\]\r\n`)
	c.say("not\r\nwanted\r\nany more\r\n\xff\xf4")
	c.want("interrupted\r\n")
	c.say("\xff\xec")
	c.want("over")
	c.wantEnd()
}

// A program that takes the terminal back has it, and a client that echoes and knows
// nothing of LINEMODE is served as always.
func TestLineModeEnds(t *testing.T) {
	t.Parallel()
	r := serve(t, `stty -extproc; echo ready; read -r x; printf '<%s>\n' "$x"; stty extproc -icrnl; echo back; head -c 4 | od -An -c`, Config{LineMode: true})
	c := r.line()
	c.want("ready\r\n")
	c.say("abx\bc\r\n")
	c.want("abx\b \bc\r\n<abc>\r\n")
	c.want("back\r\n")
	c.say("abc\r\n")
	c.want(`^ +a +b +c +\\r\r\n`)
	c.wantEnd()
	r = serve(t, `stty -echoctl; echo ready; read -r x; printf '<%s>\n' "$x"; cat; echo over`, Config{LineMode: true})
	c = r.call()
	c.say("\xff\xfc\x22\xff\xfe\x01\xff\xfe\x03") // kludge line mode
	c.loginUnechoed().want("ready\r\n")
	c.say("hello\r\n")
	c.want("^<hello>\r\n")
	c.say("\xff\xec")
	c.want("^over")
	c.wantEnd()
}
