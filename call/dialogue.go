package call

import (
	"context"
	"io"
	"net"

	"yodel/rio"
)

// Dialogue is for a person who talks with the peer: each line of typed is sent with a
// newline, and what the peer sends goes to out as it comes. It ends when the peer ends
// its direction, or when the user leaves: typed, or the cause of ctx, is [ErrEscape].
// At the end of typed it ends our direction and waits for the peer's end.
//
// out should be a [Screen] if a person looks at it. Errors are those of [Pipe].
func Dialogue(ctx context.Context, conn net.Conn, typed Lines, out io.Writer, cfg *Config) error {
	x := begin(ctx, conn, cfg.clone(), 0)
	s := newSender(x, typedSource(typed))
	return x.end(x.converse(s, func() error { return x.receive(out) }, true))
}

// The prompts of the lecture's client, which has no space behind them.
const (
	typePrompt = "type:"
	echoPrompt = "echo:"
)

// Prompt is the dialogue of the lecture's echo client: it prompts with "type:", sends
// the line, waits for a line from the peer and prints it behind "echo:". Prompts and
// answers go to out, except that typed shows the prompt itself if it has a method
// SetPrompt(string). At the end of typed it prints a newline and closes.
//
// An answer may be of any length. A last line without newline is sent so, and our
// direction ended, so that the peer knows that it is whole. What the peer says, and
// whether it closes, is seen only after the next line has been sent: that is the
// lecture's lesson, and Stevens's (Unix Network Programming, "str_cli").
//
// The error is as for [Pipe]; it is a [*BrokenError] if the peer closed and had not
// answered a line. Over datagrams an answer that was lost is waited for until
// Config.Timeout, or until the user leaves.
func Prompt(ctx context.Context, conn net.Conn, typed Lines, out io.Writer, cfg *Config) error {
	x := begin(ctx, conn, cfg.clone(), 0)
	p := &prompter{
		sender:  newSender(x, typedSource(typed)),
		answers: x.lineReader(x, rio.MaxLine),
		out:     out,
	}
	p.prompt, _ = typed.(interface{ SetPrompt(string) })
	defer p.src.stop()
	return x.end(p.account(p.run()))
}

type prompter struct {
	*sender
	answers *rio.Reader
	out     io.Writer
	prompt  interface{ SetPrompt(string) } // nil: prompts go to out
}

func (p *prompter) run() error {
	for {
		if err := p.showPrompt(); err != nil {
			return err
		}
		line, err := p.src.next(p.x.ctx)
		last := err == io.EOF
		switch {
		case last && len(line) == 0:
			p.ended = true
			return p.leavePrompt()
		case p.x.ctx.Err() != nil:
			return context.Cause(p.x.ctx)
		case err != nil && !last:
			return inputError(err)
		}
		if err := p.talk(line, last); err != nil {
			return err
		}
	}
}

func (p *prompter) showPrompt() error {
	if p.prompt != nil {
		p.prompt.SetPrompt(typePrompt)
		return nil
	}
	return p.print(typePrompt)
}

// leavePrompt moves away from a prompt that got no line. A terminal does so by itself,
// if it has none to show again.
func (p *prompter) leavePrompt() error {
	if p.prompt != nil {
		p.prompt.SetPrompt("")
		return nil
	}
	return p.print("\n")
}

func (p *prompter) print(s string) error {
	if _, err := io.WriteString(p.out, s); err != nil {
		return &OutputError{err}
	}
	return nil
}

// talk sends a line and prints the answer, both at once: a peer that echoes a long
// line as it comes must not wait until all of it was sent.
func (p *prompter) talk(line []byte, last bool) error {
	sent := make(chan error, 1)
	go func() {
		err := p.send(line)
		if err == nil && last && !p.x.packets {
			err = p.x.finishSending()
		}
		sent <- err
	}()
	err := p.answer()
	if err != nil {
		p.x.cancel(err)
	}
	if sendErr := <-sent; err == nil {
		err = sendErr
	}
	return err
}

// answer prints the peer's next line, as it comes.
func (p *prompter) answer() error {
	for heard := false; ; heard = true {
		part, err := p.answers.ReadLine()
		switch {
		case err == io.EOF && heard: // a line without newline, the last one
			return flush(p.out)
		case err == io.EOF:
			return &BrokenError{}
		case err != nil:
			return err
		}
		if !heard {
			if err := p.print(echoPrompt); err != nil {
				return err
			}
		}
		if err := p.print(string(part)); err != nil {
			return err
		}
		if part[len(part)-1] == '\n' {
			return flush(p.out)
		}
	}
}
