package rio

// A Head keeps the beginning of what is written to it: the first words of a program
// that fails, for example, whose output has no bound. It is not safe for concurrent
// use; one that is the output of an [os/exec.Cmd] is read after its Wait.
type Head struct {
	// Max is how many bytes are kept. If zero, none is.
	Max int

	kept []byte
	left int64
}

// Write keeps what there is room for and takes all of p. It never fails.
func (h *Head) Write(p []byte) (int, error) {
	n := min(len(p), max(h.Max-len(h.kept), 0))
	h.kept = append(h.kept, p[:n]...)
	h.left += int64(len(p) - n)
	return len(p), nil
}

// String returns what was kept.
func (h *Head) String() string { return string(h.kept) }

// Left returns how many bytes were written and not kept.
func (h *Head) Left() int64 { return h.left }
