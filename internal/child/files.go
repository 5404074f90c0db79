package child

import (
	"os"
)

// files are the descriptors that a program is started with.
type files struct {
	theirs [3]*os.File
	close  []*os.File // those of theirs that are ours to close
	in     *os.File
	out    *Output
	errors *os.File // what the program says on descriptor 2
}

// open opens what the program is given. What it could open before an error is in files.
func (p *Process) open() (f *files, err error) {
	f = &files{theirs: [3]*os.File{p.cfg.In, p.cfg.Out, p.cfg.Err}}
	if p.cfg.Terminal != nil {
		tty := p.cfg.Terminal.slave
		f.theirs = [3]*os.File{tty, tty, tty}
	}
	if p.cfg.PipeIn {
		if f.theirs[0], f.in, err = f.pipe(true); err != nil {
			return f, err
		}
	}
	if p.cfg.PipeOut {
		var ours *os.File
		if f.theirs[1], ours, err = f.pipe(false); err != nil {
			return f, err
		}
		f.out = &Output{File: ours, done: make(chan struct{})}
	}
	if p.cfg.Errors != nil {
		if f.theirs[2], f.errors, err = f.pipe(false); err != nil {
			return f, err
		}
	}
	p.In, p.Out = f.in, f.out
	return f, f.fill()
}

// pipe returns the two ends of a pipe; reads says that the program's is the one to read.
func (f *files) pipe(reads bool) (theirs, ours *os.File, err error) {
	theirs, ours, err = os.Pipe()
	if !reads {
		theirs, ours = ours, theirs
	}
	if err == nil {
		f.close = append(f.close, theirs)
	}
	return theirs, ours, err
}

// fill puts /dev/null where there is nothing: a program may take any other file that it
// opens for its input or output otherwise.
func (f *files) fill() error {
	for i := range f.theirs {
		if f.theirs[i] != nil {
			continue
		}
		null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		f.theirs[i] = null
		f.close = append(f.close, null)
	}
	return nil
}

func (f *files) closeTheirs() {
	for _, file := range f.close {
		file.Close()
	}
}

func (f *files) closeOurs() {
	if f.in != nil {
		f.in.Close()
	}
	if f.out != nil {
		f.out.Close()
	}
	if f.errors != nil {
		f.errors.Close()
	}
}
