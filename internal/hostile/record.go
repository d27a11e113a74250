package hostile

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"
)

// octets is a string of the recordings: one byte a character, repeats unfolded.
type octets []byte

// UnmarshalJSON implements json.Unmarshaler.
func (o *octets) UnmarshalJSON(text []byte) error {
	*o = nil
	switch text[0] {
	case 'n':
		return nil
	case '"':
		var s string
		if err := json.Unmarshal(text, &s); err != nil {
			return err
		}
		for _, r := range s {
			*o = append(*o, byte(r))
		}
		return nil
	case '[':
		var parts []octets
		if err := json.Unmarshal(text, &parts); err != nil {
			return err
		}
		for _, p := range parts {
			*o = append(*o, p...)
		}
		return nil
	}
	var rep struct {
		Repeat octets
		Times  int
	}
	if err := json.Unmarshal(text, &rep); err != nil {
		return err
	}
	*o = bytes.Repeat(rep.Repeat, rep.Times)
	return nil
}

// step is what a client or a backend does next.
type step struct {
	bytes    octets
	wait     time.Duration
	shutdown bool
	close    bool
	reset    bool
}

// UnmarshalJSON implements json.Unmarshaler.
func (s *step) UnmarshalJSON(text []byte) error {
	*s = step{}
	if text[0] == '{' {
		var d map[string]any
		if err := json.Unmarshal(text, &d); err != nil {
			return err
		}
		if _, repeated := d["repeat"]; !repeated {
			if w, ok := d["wait"].(float64); ok {
				s.wait = time.Duration(w * float64(time.Second))
			}
			_, s.shutdown = d["shutdown"]
			_, s.close = d["close"]
			_, s.reset = d["reset"]
			return nil
		}
	}
	return json.Unmarshal(text, &s.bytes)
}

// answer is one response as recorded.
type answer struct {
	Line     octets
	Headers  []octets
	Framing  string
	Complete bool
	Body     octets
}

// expect is what nginx did.
type expect struct {
	Status   []any
	Closed   *bool
	Answers  []answer
	Backend  json.RawMessage
	Requests int
	Reused   bool
	Second   []any
}

// record is one row of the recordings.
type record struct {
	ID, Case, Group, Location string
	Security                  bool
	MustAccept                bool `json:"must_accept"`
	UnsafeInNginx             bool `json:"unsafe_in_nginx"`
	OrFinal                   int  `json:"or_final"`
	Send, Reply               []step
	Settle, Late              float64
	Head                      []int
	Expect                    expect
}

// statuses are the expected codes as text.
func (r *record) statuses() string {
	var words []string
	for _, s := range r.Expect.Status {
		words = append(words, fmt.Sprint(s))
	}
	return strings.Join(words, " ")
}

// read reads a file of recordings; rows of the cache's location are left out, as there is no cache.
func read(name string) ([]*record, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var rows []*record
	sc := bufio.NewScanner(f)
	sc.Buffer(nil, 16<<20)
	for sc.Scan() {
		r := new(record)
		if err := json.Unmarshal(sc.Bytes(), r); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if r.Location != "cache" {
			rows = append(rows, r)
		}
	}
	return rows, sc.Err()
}
