// Placeholder: delete when the real files of this package land.
package tcp

import "errors"

type Conn struct{}

var ErrHangup = errors.New("x")
