package healthcheck

import (
	"math/rand/v2"
	"testing"
	"time"
)

func TestTasksComeByTheTimeWhenTheyAreDue(t *testing.T) {
	var h taskHeap
	due := make(map[*task]time.Duration)
	last := time.Duration(0)
	for i := range 3000 {
		if i%3 != 2 {
			tk := new(task)
			due[tk] = last + rand.N(time.Second)
			h.push(tk, due[tk])
			continue
		}
		tk := h.pop()
		for _, e := range h {
			if e.due < due[tk] {
				t.Fatalf("%v came before %v", due[tk], e.due)
			}
		}
		last = due[tk]
		delete(due, tk)
	}
	for len(h) > 0 {
		tk := h.pop()
		if due[tk] < last {
			t.Fatalf("%v came behind %v", due[tk], last)
		}
		last = due[tk]
		delete(due, tk)
	}
	if len(due) != 0 {
		t.Errorf("%d tasks are lost", len(due))
	}
}
