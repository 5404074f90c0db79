package kernel

// Stripped returns of how many segments the program has taken away what came before.
func Stripped(e Engine) (sum uint64) {
	for _, at := range e.programs.list {
		for i := range at.slots.list[:at.slots.used.Load()] {
			sum += at.slots.list[i].stripped.Load()
		}
	}
	return sum
}
