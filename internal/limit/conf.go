package limit

import (
	"errors"
	"fmt"
	"strings"

	"limpet/internal/errlog"
	"limpet/internal/ngx"
	conf "limpet/nginxconf"
)

// Conf holds the directives of the limit_conn and limit_req modules at one level.
type Conf struct {
	zones []*zoneConf // of http{} alone, in order of mention

	Conns      conf.List[connLimit]
	ConnLevel  conf.Opt[errlog.Level]
	ConnStatus conf.Opt[int]
	ConnDryRun conf.Opt[bool]

	Reqs      conf.List[reqLimit]
	ReqLevel  conf.Opt[errlog.Level]
	ReqStatus conf.Opt[int]
	ReqDryRun conf.Opt[bool]
}

// Directives lists the directives of both modules.
func (c *Conf) Directives() []conf.Directive {
	const in = conf.HTTPServerLocation
	levels := []conf.Word[errlog.Level]{{Name: "info", Value: errlog.Info}, {Name: "notice", Value: errlog.Notice}, {Name: "warn", Value: errlog.Warn}, {Name: "error", Value: errlog.Error}}
	return []conf.Directive{
		conf.Call("limit_conn_zone", conf.HTTP, conf.Args2, parseConnZone, "Names a zone for the numbers of connections by a key."),
		conf.Each("limit_conn", in, conf.Args2, &c.Conns, c.parseConn, "Bounds the number of connections by the key of a zone."),
		conf.Enum("limit_conn_log_level", in, &c.ConnLevel, levels, "error", "Sets the level at which refused connections are logged."),
		conf.Custom("limit_conn_status", in, conf.Args1, &c.ConnStatus, parseStatus, "503", "Sets the status of refused connections."),
		conf.Flag("limit_conn_dry_run", in, &c.ConnDryRun, "off", "Counts connections without refusing any."),

		conf.Call("limit_req_zone", conf.HTTP, conf.Args3, parseReqZone, "Names a zone for the rates of requests by a key."),
		conf.Each("limit_req", in, conf.Args123, &c.Reqs, c.parseReq, "Bounds the rate of requests by the key of a zone."),
		conf.Enum("limit_req_log_level", in, &c.ReqLevel, levels, "error", "Sets the level at which refused requests are logged; delayed ones are one level lower."),
		conf.Custom("limit_req_status", in, conf.Args1, &c.ReqStatus, parseStatus, "503", "Sets the status of refused requests."),
		conf.Flag("limit_req_dry_run", in, &c.ReqDryRun, "off", "Counts requests without refusing or delaying any."),
	}
}

func parseStatus(s *conf.Setting) (int, error) {
	n, ok := conf.ParseNum(s.Arg(0))
	if !ok {
		return 0, conf.Brief("invalid number")
	}
	if n < 400 || n > 599 {
		return 0, errors.New("value must be between 400 and 599")
	}
	return n, nil
}

// connLimit is one limit_conn.
type connLimit struct {
	zone *zoneConf
	max  int
}

// reqLimit is one limit_req. Amounts are thousandths of requests.
type reqLimit struct {
	zone  *zoneConf
	burst int64
	delay int64 // from here on requests wait
}

// noDelay is a delay that no burst comes to.
const noDelay = 1<<63 - 1

// zoneConf is a zone as directives name it.
type zoneConf struct {
	name string
	kind string // "limit_conn" or "limit_req"
	size int64  // 0 until its own directive came
	key  ngx.Text
	text string // of the key, as written
	rate int64  // thousandths of requests a second
	conn *connZone
	req  *reqZone
}

// mention returns the zone of a name, which may be defined later.
func mention(s *conf.Setting, kind, name string) (*zoneConf, error) {
	c := conf.Own[*Conf](s.Level.Up(conf.HTTP))
	for _, z := range c.zones {
		if z.name != name {
			continue
		}
		if z.kind != kind {
			return nil, fmt.Errorf(`the shared memory zone "%s" is already declared for a different use`, name)
		}
		return z, nil
	}
	z := &zoneConf{name: name, kind: kind}
	c.zones = append(c.zones, z)
	return z, nil
}

// minZone is the size of the smallest zone: eight pages.
const minZone = 8 * 4096

// parseSize reads `zone=NAME:SIZE`.
func parseSize(word string) (name string, size int64, err error) {
	name, text, ok := strings.Cut(word[len("zone="):], ":")
	if ok && name == "" {
		return "", 0, nil // reported as missing, as in nginx
	}
	if size, ok = conf.ParseSize(text); !ok {
		return "", 0, fmt.Errorf(`invalid zone size "%s"`, word)
	}
	if size < minZone {
		return "", 0, fmt.Errorf(`zone "%s" is too small`, word)
	}
	return name, size, nil
}

// define gives a zone its size and key.
func define(s *conf.Setting, kind, name string, size int64) (*zoneConf, error) {
	if name == "" {
		return nil, fmt.Errorf(`"%s" must have "zone" parameter`, s.Name)
	}
	z, err := mention(s, kind, name)
	if err != nil {
		return nil, err
	}
	if z.size != 0 && z.size != size {
		return nil, fmt.Errorf(`the size %d of shared memory zone "%s" conflicts with already declared size %d`, size, name, z.size)
	}
	if z.size != 0 {
		return nil, fmt.Errorf(`%s "%s" is already bound to key "%s"`, s.Name, name, z.text)
	}
	z.size, z.text = size, s.Arg(0)
	z.key, err = ngx.ParseText(s, s.Arg(0))
	return z, err
}

func parseConnZone(s *conf.Setting) error {
	word := s.Arg(1)
	if !strings.HasPrefix(word, "zone=") {
		return fmt.Errorf(`invalid parameter "%s"`, word)
	}
	name, size, err := parseSize(word)
	if err != nil {
		return err
	}
	_, err = define(s, "limit_conn", name, size)
	return err
}

func parseReqZone(s *conf.Setting) error {
	var name string
	var size int64
	rate := int64(1000)
	for i := 1; i < len(s.Args); i++ {
		word := s.Arg(i)
		var err error
		switch {
		case strings.HasPrefix(word, "zone="):
			name, size, err = parseSize(word)
		case strings.HasPrefix(word, "rate="):
			rate, err = parseRate(word)
		default:
			err = fmt.Errorf(`invalid parameter "%s"`, word)
		}
		if err != nil {
			return err
		}
	}
	z, err := define(s, "limit_req", name, size)
	if err != nil {
		return err
	}
	z.rate = rate
	return nil
}

// parseRate reads `rate=N`, `rate=Nr/s` or `rate=Nr/m`.
func parseRate(word string) (int64, error) {
	text, scale := word[len("rate="):], 1
	if cut, ok := strings.CutSuffix(text, "r/s"); ok {
		text = cut
	} else if cut, ok := strings.CutSuffix(text, "r/m"); ok {
		text, scale = cut, 60
	}
	n, ok := conf.ParseNum(text)
	if !ok || n <= 0 || n > 1<<31 {
		return 0, fmt.Errorf(`invalid rate "%s"`, word)
	}
	return int64(n) * 1000 / int64(scale), nil
}

func (c *Conf) parseConn(s *conf.Setting) (connLimit, error) {
	z, err := mention(s, "limit_conn", s.Arg(0))
	if err != nil {
		return connLimit{}, err
	}
	for _, l := range c.Conns.V {
		if l.zone == z {
			return connLimit{}, conf.ErrDuplicate
		}
	}
	n, ok := conf.ParseNum(s.Arg(1))
	if !ok || n <= 0 {
		return connLimit{}, fmt.Errorf(`invalid number of connections "%s"`, s.Arg(1))
	}
	if n > 65535 {
		return connLimit{}, errors.New("connection limit must be less 65536")
	}
	return connLimit{z, n}, nil
}

func (c *Conf) parseReq(s *conf.Setting) (reqLimit, error) {
	var l reqLimit
	for i := range s.Args {
		word := s.Arg(i)
		name, value, _ := strings.Cut(word, "=")
		n, ok := conf.ParseNum(value)
		var err error
		switch {
		case strings.HasPrefix(word, "zone="):
			l.zone, err = mention(s, "limit_req", value)
		case strings.HasPrefix(word, "burst="):
			l.burst = int64(n) * 1000
		case strings.HasPrefix(word, "delay="):
			l.delay = int64(n) * 1000
		case word == "nodelay":
			l.delay = noDelay
		default:
			err = fmt.Errorf(`invalid parameter "%s"`, word)
		}
		if err == nil && (name == "burst" || name == "delay") && (!ok || n <= 0 || n > 1<<31) {
			err = fmt.Errorf(`invalid %s value "%s"`, name, word)
		}
		if err != nil {
			return l, err
		}
	}
	if l.zone == nil {
		return l, fmt.Errorf(`"%s" must have "zone" parameter`, s.Name)
	}
	for _, have := range c.Reqs.V {
		if have.zone == l.zone {
			return l, conf.ErrDuplicate
		}
	}
	return l, nil
}
