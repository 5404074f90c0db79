package pcap_test

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"testing"

	"yodel/watch/pcap"
)

// FuzzReader wants of any bytes that they are read to an end without a panic, that no
// packet is longer than what there is, and that an error is one that the documentation
// promises.
func FuzzReader(f *testing.F) {
	for _, o := range orders {
		f.Add(classic(o, 0xa1b2c3d4, record(o, 1, 2, 3, 3, []byte("abc"))))
		f.Add(classic(o, 0xa1b23c4d, record(o, 1, 2, 3, 9, []byte("abc"))))
		f.Add(slices.Concat(section(o, option(o, 1, "c")), device(o, 1, option(o, 9, "\x89"), option(o, 14, "12345678")),
			enhanced(o, 0, 1, "abc", option(o, 1, "comment")), block(o, 3, u32(o, 3), []byte("abc\x00")),
			block(o, 2, u16(o, 0, 1), u32(o, 0, 0, 1, 1), []byte("x\x00\x00\x00")),
			block(o, 4, option(o, 1, "\xc0\x00\x02\x01name\x00")), block(o, 5, u32(o, 0, 0, 0), option(o, 4, "12345678"))))
	}
	f.Add(sample(f))
	f.Fuzz(func(t *testing.T, file []byte) {
		r, err := pcap.NewReader(bytes.NewReader(file))
		sum := 0
		for n := int64(1); err == nil; n++ {
			var p *pcap.Packet
			if p, err = r.Next(); err != nil {
				break
			}
			sum += len(p.Data)
			if p.Number != n || p.Interface == nil || p.Length < len(p.Data) || sum > len(file) || p.Time.Year() > 9999 {
				t.Fatalf("%+v", p)
			}
		}
		if !promised(err) {
			t.Errorf("%T %v", err, err)
		}
	})
}

func promised(err error) bool {
	_, damaged := errors.AsType[*pcap.FormatError](err)
	_, cut := errors.AsType[*pcap.TruncatedError](err)
	return damaged || cut || errors.Is(err, io.EOF) || errors.Is(err, pcap.ErrNoCapture)
}
