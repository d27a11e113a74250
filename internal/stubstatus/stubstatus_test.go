package stubstatus

import (
	"testing"

	"limpet/internal/ngx"
)

// The text is nginx 1.22.1's.
func TestPage(t *testing.T) {
	var s ngx.Stats
	s.Active.Store(5)
	s.Accepted.Store(14)
	s.Handled.Store(13)
	s.Requests.Store(20)
	s.Reading.Store(1)
	s.Writing.Store(2)
	const want = "Active connections: 5 \nserver accepts handled requests\n 14 13 20 \nReading: 1 Writing: 2 Waiting: 2 \n"
	if got := string(appendPage(nil, &s)); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestOnlyGetAndHeadAreAnswered(t *testing.T) {
	for _, method := range []string{"POST", "PUT", "OPTIONS"} {
		r := &ngx.Request{Method: []byte(method)}
		if got := handler(new(ngx.Stats))(r); got != 405 {
			t.Errorf("%s: %d", method, got)
		}
	}
}
