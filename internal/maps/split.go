package maps

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"limpet/internal/ngx"
	"limpet/nginxconf"
)

// split is a split_clients block.
type split struct {
	source ngx.Text
	parts  []share
}

// share is a part of the 32-bit hashes: those below until and not below the share before.
type share struct {
	until uint64
	value []byte
}

// whole is 100 % in hundredths of a percent.
const whole = 10000

func parseSplit(s *nginxconf.Setting) error {
	sp := &split{}
	var err error
	if sp.source, err = ngx.ParseText(s, s.Arg(0)); err != nil {
		return err
	}
	d, err := define(s, s.Arg(1), sp.get)
	if err != nil {
		return err
	}
	var percents []int // 0 for the rest
	if err := s.Entries(func(e *nginxconf.Statement) error {
		w := words(e)
		n, err := parsePercent(w[0])
		if err != nil {
			return err
		}
		percents = append(percents, n)
		value := ""
		if len(w) > 1 {
			value = w[1]
		}
		sp.parts = append(sp.parts, share{value: []byte(value)})
		return nil
	}); err != nil {
		return err
	}
	if err := sp.shareOut(percents); err != nil {
		return err
	}
	return d.keep(sp.get)
}

// parsePercent reads a share in hundredths of a percent; 0 for an asterisk.
func parsePercent(word string) (int, error) {
	if word == "*" {
		return 0, nil
	}
	bad := fmt.Errorf(`invalid percent value "%s"`, word)
	digits, ok := strings.CutSuffix(word, "%")
	if !ok {
		return 0, bad
	}
	whole, frac, _ := strings.Cut(digits, ".")
	if len(frac) > 2 || whole+frac == "" {
		return 0, bad
	}
	n, ok := nginxconf.ParseNum(whole + (frac + "00")[:2])
	if !ok || n == 0 {
		return 0, bad
	}
	return n, nil
}

// shareOut gives each part its hashes, with nginx's arithmetic: each percentage is cut to a whole number of hashes by itself.
func (sp *split) shareOut(percents []int) error {
	sum, last := 0, uint64(0)
	for i, n := range percents {
		sum += n
		if n == 0 {
			sum = whole
		}
		if sum > whole {
			return errors.New("percent total is greater than 100%")
		}
		last += uint64(n) * 0xffffffff / whole
		sp.parts[i].until = last
		if sum == whole {
			sp.parts[i].until = 1 << 32
		}
	}
	return nil
}

// get is the variable's getter.
func (sp *split) get(r *ngx.Request, dst []byte) ([]byte, bool) {
	h := uint64(murmur2(sp.source.Bytes(r)))
	for i := range sp.parts {
		if h < sp.parts[i].until {
			return append(dst, sp.parts[i].value...), true
		}
	}
	return dst, true
}

// murmur2 is MurmurHash2 with the seed 0, as nginx uses it.
// https://github.com/aappleby/smhasher/blob/master/src/MurmurHash2.cpp
func murmur2(b []byte) uint32 {
	const m = 0x5bd1e995
	h := uint32(len(b))
	for len(b) >= 4 {
		k := binary.LittleEndian.Uint32(b) * m
		h = h*m ^ (k^k>>24)*m
		b = b[4:]
	}
	if len(b) > 0 {
		var rest uint32
		for i, c := range b {
			rest |= uint32(c) << (8 * i)
		}
		h = (h ^ rest) * m
	}
	h = (h ^ h>>13) * m
	return h ^ h>>15
}
