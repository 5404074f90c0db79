package trace

// WantsEach reports whether s wants an event for each single Read and Write, and
// not for the first of a connection only: whether it has a method EachCall() bool
// that returns true. A nil Sink wants none.
func WantsEach(s Sink) bool {
	w, ok := s.(interface{ EachCall() bool })
	return ok && w.EachCall()
}

// EachCall returns s as a Sink that wants each single Read and Write. It returns
// nil if s is nil.
func EachCall(s Sink) Sink {
	if s == nil {
		return nil
	}
	return eachCall{s}
}

type eachCall struct{ Sink }

func (eachCall) EachCall() bool { return true }

// EachCall reports whether one of the sinks wants each call. The others then see
// each call too.
func (t tee) EachCall() bool {
	for _, s := range t {
		if WantsEach(s) {
			return true
		}
	}
	return false
}

// For returns s as a Sink of events that say for which service they are, where
// they do not yet: a [Listener] or [Conn] does not know. It returns nil if s is
// nil.
func For(service string, s Sink) Sink {
	if s == nil {
		return nil
	}
	return labelled{s, service}
}

type labelled struct {
	Sink
	service string
}

func (l labelled) Emit(e *Event) {
	if e.Service != "" {
		l.Sink.Emit(e)
		return
	}
	e.Service = l.service
	l.Sink.Emit(e)
	e.Service = "" // as it was: other sinks may see it next
}

func (l labelled) EachCall() bool { return WantsEach(l.Sink) }
