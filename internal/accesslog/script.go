package accesslog

import (
	"os"
	"syscall"

	"limpet/internal/errlog"
	"limpet/internal/ngx"
)

// scriptFile is a file whose name has variables: opened for every line, or kept open by the cache.
type scriptFile struct {
	name  *ngx.Text
	cache *fileCache // nil: none
}

// write writes a line where the request's root exists, so that requests for
// hosts that don't can't make files.
func (f *scriptFile) write(r *ngx.Request, line []byte) {
	root := string(r.Scope.Core.Root.V.Text.Bytes(r))
	info, err := os.Stat(root)
	if err == nil && !info.IsDir() {
		err = syscall.ENOTDIR
	}
	if err != nil {
		r.Errorf(`testing "%s" existence failed %s while logging request`, root, errlog.Errno(err))
		return
	}
	name := string(f.name.Bytes(r))
	var failed string
	if f.cache != nil {
		failed, err = f.cache.write(name, line)
	} else {
		failed, err = writeOnce(name, line)
	}
	switch {
	case err == nil:
	case failed == "open":
		r.Critf(`open() "%s" failed %s while logging request`, name, errlog.Errno(err))
	default:
		r.Logf(errlog.Alert, `write() to "%s" failed %s while logging request`, name, errlog.Errno(err))
	}
}

func openLog(name string) (*os.File, error) {
	return os.OpenFile(name, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
}

// writeOnce opens a file for one line; failed names the call that did.
func writeOnce(name string, line []byte) (failed string, err error) {
	f, err := openLog(name)
	if err != nil {
		return "open", err
	}
	defer f.Close()
	_, err = f.Write(line)
	return "write", err
}
