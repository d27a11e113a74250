package resolver

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"strings"
)

// The types of records that are asked for or followed (RFC 1035 section 3.2.2, RFC 3596, RFC 2782).
const (
	typeA     = 1
	typeCNAME = 5
	typeAAAA  = 28
	typeSRV   = 33

	classIN = 1
)

// Bits of a message's third and fourth byte (RFC 1035 section 4.1.1).
const (
	flagResponse  = 0x8000
	flagTruncated = 0x0200
	flagRecursion = 0x0100
	maskCode      = 0x000f
)

const (
	headerSize = 12
	maxLabel   = 63
	// maxName bounds a name's text. nginx takes names that are longer than the 255
	// bytes of RFC 1035, as some servers give them; this only bounds the work.
	maxName = 512
	// maxPointers bounds how often a name goes on elsewhere in a message.
	maxPointers = 64
)

// appendQuery appends a query of one question; false when name is none.
func appendQuery(b []byte, id uint16, name string, typ uint16) ([]byte, bool) {
	b = binary.BigEndian.AppendUint16(b, id)
	b = binary.BigEndian.AppendUint16(b, flagRecursion)
	b = append(b, 0, 1, 0, 0, 0, 0, 0, 0)
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > maxLabel {
			return nil, false
		}
		b = append(append(b, byte(len(label))), label...)
	}
	b = append(b, 0)
	b = binary.BigEndian.AppendUint16(b, typ)
	return binary.BigEndian.AppendUint16(b, classIN), true
}

// record is one answer.
type record struct {
	typ    uint16
	ttl    uint32
	addr   netip.Addr // of A and AAAA
	target string     // of CNAME and SRV, in lower case
	// of SRV
	priority, weight, port uint16
}

// message is a response of one question.
type message struct {
	id, flags uint16
	name      string // asked for, in lower case
	typ       uint16
	answers   []record
}

func (m *message) code() int { return int(m.flags & maskCode) }

// What is wrong with a response, in nginx's words.
var (
	errShort     = errors.New("short DNS response")
	errNotAnswer = errors.New("invalid DNS response")
	errQuestions = errors.New("invalid number of questions in DNS response")
	errName      = errors.New("invalid name in DNS response")
	errRecord    = errors.New("invalid record in DNS response")
)

// parse reads a response. The answers of one with an error code aren't looked at.
func parse(b []byte) (*message, error) {
	if len(b) < headerSize {
		return nil, errShort
	}
	m := &message{id: binary.BigEndian.Uint16(b), flags: binary.BigEndian.Uint16(b[2:])}
	if m.flags&flagResponse == 0 {
		return nil, errNotAnswer
	}
	if binary.BigEndian.Uint16(b[4:]) != 1 {
		return nil, errQuestions
	}
	name, at, err := parseName(b, headerSize)
	if err != nil {
		return nil, err
	}
	if at+4 > len(b) {
		return nil, errShort
	}
	m.name, m.typ = name, binary.BigEndian.Uint16(b[at:])
	if binary.BigEndian.Uint16(b[at+2:]) != classIN {
		return nil, errNotAnswer
	}
	at += 4
	if m.code() != 0 || m.flags&flagTruncated != 0 {
		return m, nil
	}
	for range binary.BigEndian.Uint16(b[6:]) {
		if at, err = m.parseRecord(b, at); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// parseRecord reads the answer at a position and returns where the next one begins.
func (m *message) parseRecord(b []byte, at int) (int, error) {
	at, err := skipName(b, at)
	if err != nil {
		return 0, err
	}
	if at+10 > len(b) {
		return 0, errShort
	}
	r := record{typ: binary.BigEndian.Uint16(b[at:]), ttl: binary.BigEndian.Uint32(b[at+4:])}
	class := binary.BigEndian.Uint16(b[at+2:])
	size := int(binary.BigEndian.Uint16(b[at+8:]))
	at += 10
	end := at + size
	if end > len(b) {
		return 0, errShort
	}
	if r.ttl > 1<<31-1 { // RFC 2181 section 8
		r.ttl = 0
	}
	if class != classIN {
		return end, nil
	}
	data, ok := b[at:end], true
	switch r.typ {
	case typeA:
		if ok = size == 4; ok {
			r.addr = netip.AddrFrom4([4]byte(data))
		}
	case typeAAAA:
		if ok = size == 16; ok {
			r.addr = netip.AddrFrom16([16]byte(data))
		}
	case typeCNAME:
		r.target, _, err = parseName(b[:end], at)
	case typeSRV:
		if ok = size > 6; ok {
			r.priority, r.weight, r.port = binary.BigEndian.Uint16(data), binary.BigEndian.Uint16(data[2:]), binary.BigEndian.Uint16(data[4:])
			r.target, _, err = parseName(b[:end], at+6)
		}
	default:
		return end, nil
	}
	if !ok {
		return 0, errRecord
	}
	if err == nil {
		m.answers = append(m.answers, r)
	}
	return end, err
}

// skipName returns where a name ends.
func skipName(b []byte, at int) (int, error) {
	for at < len(b) {
		n := int(b[at])
		switch {
		case n == 0:
			return at + 1, nil
		case n&0xc0 == 0xc0:
			if at+2 > len(b) {
				return 0, errShort
			}
			return at + 2, nil
		case n > maxLabel:
			return 0, errName
		}
		at += 1 + n
	}
	return 0, errShort
}

// parseName returns a name in lower case and where it ends.
func parseName(b []byte, at int) (name string, end int, err error) {
	if end, err = skipName(b, at); err != nil {
		return "", 0, err
	}
	var text []byte
	for jumps := 0; ; {
		if at >= len(b) {
			return "", 0, errName
		}
		n := int(b[at])
		switch {
		case n == 0:
			return strings.ToLower(string(text)), end, nil
		case n&0xc0 == 0xc0:
			if jumps++; jumps > maxPointers || at+2 > len(b) {
				return "", 0, errName
			}
			at = int(binary.BigEndian.Uint16(b[at:]) & 0x3fff)
			continue
		case n > maxLabel || at+1+n > len(b) || len(text)+1+n > maxName:
			return "", 0, errName
		}
		if len(text) > 0 {
			text = append(text, '.')
		}
		text = append(text, b[at+1:at+1+n]...)
		at += 1 + n
	}
}
