package main
import ("io";"errors")
func (s *stage) redis(set *settings, out io.Writer) error { return errors.ErrUnsupported }
