package rio_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"testing"

	"yodel/rio"
)

// BenchmarkLines reads a mebibyte of lines of one length, newline included, by
// this package and by the standard library's ways. ns/op is for one line. All have
// a buffer of 8192 bytes.
func BenchmarkLines(b *testing.B) {
	for _, length := range []int{16, 64, 1000} {
		line := append(bytes.Repeat([]byte{'x'}, length-1), '\n')
		in := bytes.Repeat(line, (1<<20)/length)
		for _, way := range []struct {
			name string
			open func(io.Reader) func() ([]byte, error)
		}{
			{"Scanner", scanner},
			{"ReadSlice", readSlice},
			{"rio-split", func(src io.Reader) func() ([]byte, error) {
				return rio.NewReader(src, rio.MaxLine, rio.SplitLong).ReadLine
			}},
			{"rio-refuse", func(src io.Reader) func() ([]byte, error) {
				return rio.NewReader(src, rio.MaxLine, rio.RefuseLong).ReadLine
			}},
		} {
			b.Run(fmt.Sprintf("%d/%s", length, way.name), func(b *testing.B) {
				b.SetBytes(int64(length))
				b.ReportAllocs()
				drain(b, in, way.open)
			})
		}
	}
}

// drain reads b.N lines, starting over at the end of in.
func drain(b *testing.B, in []byte, open func(io.Reader) func() ([]byte, error)) {
	next := open(bytes.NewReader(in))
	for b.Loop() {
		if _, err := next(); err != nil {
			b.StopTimer()
			next = open(bytes.NewReader(in))
			b.StartTimer()
		}
	}
}

func scanner(src io.Reader) func() ([]byte, error) {
	s := bufio.NewScanner(src)
	s.Buffer(make([]byte, 8192), 8192)
	return func() ([]byte, error) {
		if !s.Scan() {
			return nil, io.EOF
		}
		return s.Bytes(), nil
	}
}

func readSlice(src io.Reader) func() ([]byte, error) {
	r := bufio.NewReaderSize(src, 8192)
	return func() ([]byte, error) { return r.ReadSlice('\n') }
}

// BenchmarkNext is the same without a Reader: what a session pays for a line.
func BenchmarkNext(b *testing.B) {
	for _, length := range []int{16, 64, 1000} {
		line := append(bytes.Repeat([]byte{'x'}, length-1), '\n')
		in := bytes.Repeat(line, 8)
		b.Run(fmt.Sprint(length), func(b *testing.B) {
			lines := rio.Lines{Max: rio.MaxLine, Mode: rio.RefuseLong}
			at := 0
			for b.Loop() {
				_, used, _ := lines.Next(in[at:], false)
				if at += used; at == len(in) {
					at = 0
				}
			}
		})
	}
}
