package ngx

import "strconv"

// MakesLocationAbsolute reports whether the Location field is one that AppendLocation
// changes: nginx then writes it among the fields about the body, else among the others.
func MakesLocationAbsolute(r *Request) bool {
	loc := r.Out.Location
	return len(loc) > 0 && loc[0] == '/' && r.Scope.Core.AbsoluteRedirect.V
}

// AppendLocation appends the Location field's value: as it is, or made absolute
// where it begins with a slash and absolute_redirect is on.
func AppendLocation(b []byte, r *Request) []byte {
	loc, core := r.Out.Location, r.Scope.Core
	if !MakesLocationAbsolute(r) {
		return append(b, loc...)
	}
	b = append(b, r.Scheme...)
	b = append(b, "://"...)
	switch {
	case core.ServerNameInRedirect.V:
		b = append(b, r.Scope.Server.ServerName...)
	case len(r.Host) > 0:
		b = append(b, r.Host...)
	default:
		b = append(b, r.Client.Conn.LocalIP()...)
	}
	if port := r.Client.Local.Port(); core.PortInRedirect.V && port != 0 && !(r.Scheme == "http" && port == 80 || r.Scheme == "https" && port == 443) {
		b = append(b, ':')
		b = strconv.AppendInt(b, int64(port), 10)
	}
	return append(b, loc...)
}

// Rate returns limit_rate in bytes a second and how many bytes go before it holds; 0 is no limit.
func (r *Request) Rate() (rate, after int64) {
	core := r.Scope.Core
	rate = r.LimitRate
	if !r.LimitRateSet {
		if s, ok := core.LimitRate.V.Static(); ok && len(s) == 1 && s[0] == '0' {
			return 0, 0
		}
		rate = ParseRate(core.LimitRate.V.Bytes(r))
	}
	if rate <= 0 {
		return 0, 0
	}
	return rate, ParseRate(core.LimitRateAfter.V.Bytes(r))
}
