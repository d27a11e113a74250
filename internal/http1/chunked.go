package http1

import (
	"errors"
	"math"
)

// ErrChunked is a chunked body that breaks the framing; the connection can't be used any more.
var ErrChunked = errors.New("invalid chunked body")

// chunkState is where a ChunkDecoder stands.
type chunkState uint8

const (
	chunkStart     chunkState = iota // before a size
	chunkSize                        // in a size
	chunkExt                         // in an extension
	chunkSizeLF                      // LF behind a size's CR
	chunkData                        // in the data
	chunkDataCR                      // CR behind the data
	chunkDataLF                      // LF behind that
	chunkTrailer                     // at the start of a trailer line
	chunkTrailerIn                   // in a trailer line
	chunkTrailerLF                   // LF behind a trailer line's CR
	chunkEndLF                       // LF behind the last CR
	chunkDone
)

// ChunkDecoder takes the framing off a chunked body, RFC 9112 section 7.1, as
// strict as nginx since 1.29.4: every line ends with CR LF, a bare LF is an
// error, extensions are skipped. The zero value is ready.
type ChunkDecoder struct {
	// KeepTrailer stops the decoder behind the last chunk, so that the caller
	// reads the trailer as header lines.
	KeepTrailer bool

	state chunkState
	size  int64 // of the chunk being read: what is missing
}

// Reset makes the decoder ready for another body.
func (d *ChunkDecoder) Reset() { *d = ChunkDecoder{KeepTrailer: d.KeepTrailer} }

// Done reports whether the body has ended; with KeepTrailer, whether the trailer begins.
func (d *ChunkDecoder) Done() bool { return d.state == chunkDone }

// Pending returns how many bytes of the chunk at hand are known to come.
func (d *ChunkDecoder) Pending() int64 {
	if d.state == chunkData || d.state == chunkSizeLF {
		return d.size
	}
	return 0
}

// Next reads on in b and returns the next run of data, a part of b of at most
// limit bytes, and how many bytes of b were used, those of the data included.
// Without data, b is used up or the body has ended.
func (d *ChunkDecoder) Next(b []byte, limit int) (data []byte, n int, err error) {
	for n < len(b) && d.state != chunkDone {
		c := b[n]
		switch d.state {
		case chunkData:
			k := int(min(int64(len(b)-n), int64(limit), d.size))
			if d.size -= int64(k); d.size == 0 {
				d.state = chunkDataCR
			}
			return b[n : n+k], n + k, nil
		case chunkStart:
			v, ok := hexDigit(c)
			if !ok {
				return nil, n, ErrChunked
			}
			d.size, d.state = v, chunkSize
		case chunkSize:
			if !d.sizeByte(c) {
				return nil, n, ErrChunked
			}
		case chunkExt:
			switch c {
			case '\r':
				d.state = chunkSizeLF
			case '\n':
				return nil, n, ErrChunked
			}
		case chunkTrailer, chunkTrailerIn:
			switch {
			case c == '\n':
				return nil, n, ErrChunked
			case c != '\r':
				d.state = chunkTrailerIn
			case d.state == chunkTrailer:
				d.state = chunkEndLF
			default:
				d.state = chunkTrailerLF
			}
		default:
			if !d.lineEnd(c) {
				return nil, n, ErrChunked
			}
		}
		n++
	}
	return nil, n, nil
}

// sizeByte takes a byte behind the first digit of a size.
func (d *ChunkDecoder) sizeByte(c byte) bool {
	if v, ok := hexDigit(c); ok {
		// Room is left for what the framing adds, as in nginx.
		if d.size > (math.MaxInt64-16-v)/16 {
			return false
		}
		d.size = d.size*16 + v
		return true
	}
	switch c {
	case '\r':
		d.state = chunkSizeLF
	case ';', ' ', '\t':
		d.state = chunkExt
	default:
		return false
	}
	return true
}

// lineEnd takes the CR or LF that has to come.
func (d *ChunkDecoder) lineEnd(c byte) bool {
	if d.state == chunkDataCR {
		d.state = chunkDataLF
		return c == '\r'
	}
	switch d.state {
	case chunkSizeLF:
		switch {
		case d.size > 0:
			d.state = chunkData
		case d.KeepTrailer:
			d.state = chunkDone
		default:
			d.state = chunkTrailer
		}
	case chunkDataLF:
		d.state = chunkStart
	case chunkTrailerLF:
		d.state = chunkTrailer
	case chunkEndLF:
		d.state = chunkDone
	}
	return c == '\n'
}

func hexDigit(c byte) (int64, bool) {
	switch {
	case '0' <= c && c <= '9':
		return int64(c - '0'), true
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return int64(c|0x20-'a') + 10, true
	}
	return 0, false
}
