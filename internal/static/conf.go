package static

import (
	"fmt"
	"strings"
	"time"

	"limpet/internal/ngx"
	conf "limpet/nginxconf"
)

// Words of if_modified_since.
const (
	sinceOff = iota
	sinceExact
	sinceBefore
)

// Words of gzip_static.
const (
	gzipStaticOff = iota
	gzipStaticOn
	gzipStaticAlways
)

// Conf is the configuration of all that serves files, at one level.
type Conf struct {
	IfModifiedSince conf.Opt[int]
	MaxRanges       conf.Opt[int] // -1: any number
	Symlinks        conf.Opt[symlinks]

	Index              conf.List[ngx.Text]
	Autoindex          conf.Opt[bool]
	AutoindexFormat    conf.Opt[int]
	AutoindexLocaltime conf.Opt[bool]
	AutoindexExactSize conf.Opt[bool]
	RandomIndex        conf.Opt[bool]
	GzipStatic         conf.Opt[int]
	EmptyGIF           conf.Opt[bool]
	TryFiles           conf.Opt[tryFiles]
	PostAction         conf.Opt[string]
}

// Directives lists the directives of files.
func (c *Conf) Directives() []conf.Directive {
	rows := []conf.Directive{
		conf.Enum("if_modified_since", conf.HTTPServerLocation, &c.IfModifiedSince, []conf.Word[int]{{Name: "off", Value: sinceOff}, {Name: "exact", Value: sinceExact}, {Name: "before", Value: sinceBefore}}, "exact",
			"Says how If-Modified-Since is compared with the time of the last change."),
		conf.Num("max_ranges", conf.HTTPServerLocation, &c.MaxRanges, "", "Bounds the number of ranges of a request; 0 answers none."),
		conf.Custom("disable_symlinks", conf.HTTPServerLocation, conf.Args12, &c.Symlinks, parseSymlinks, "off", "Says which symbolic links are followed."),
		conf.Many("index", conf.HTTPServerLocation, conf.Args1More, &c.Index, parseIndex, "index.html", "Names the files that answer for a folder."),
		conf.Flag("autoindex", conf.HTTPServerLocation, &c.Autoindex, "off", "Lists folders."),
		conf.Enum("autoindex_format", conf.HTTPServerLocation, &c.AutoindexFormat, []conf.Word[int]{{Name: "html", Value: formatHTML}, {Name: "json", Value: formatJSON}, {Name: "jsonp", Value: formatJSONP}, {Name: "xml", Value: formatXML}}, "html",
			"Sets the format of listings."),
		conf.Flag("autoindex_localtime", conf.HTTPServerLocation, &c.AutoindexLocaltime, "off", "Shows times of the local zone in listings."),
		conf.Flag("autoindex_exact_size", conf.HTTPServerLocation, &c.AutoindexExactSize, "on", "Shows sizes in bytes in listings."),
		conf.Flag("random_index", conf.Location, &c.RandomIndex, "off", "Answers for a folder with one of its files."),
		conf.Enum("gzip_static", conf.HTTPServerLocation, &c.GzipStatic, []conf.Word[int]{{Name: "off", Value: gzipStaticOff}, {Name: "on", Value: gzipStaticOn}, {Name: "always", Value: gzipStaticAlways}}, "off",
			"Sends a file's compressed neighbour, with .gz behind its name, in its place."),
		conf.Custom("empty_gif", conf.Location, conf.NoArgs, &c.EmptyGIF, func(*conf.Setting) (bool, error) { return true, nil }, "", "Answers with a transparent pixel.").NoInherit(),
		conf.Custom("try_files", conf.ServerLocation, conf.Args2More, &c.TryFiles, parseTryFiles, "", "Looks for files in order and falls back to a URI or a status.").NoInherit(),
		conf.Str("post_action", conf.HTTPServerLocation|conf.LocationIf, &c.PostAction, "", "Names what is run when the answer is complete."),
	}
	return append(rows, ignored()...)
}

// ignored lists the directives about how nginx reads and sends files.
func ignored() []conf.Directive {
	const (
		sent   = "files are sent by sendfile(2) where nothing looks at the body, and read otherwise"
		cached = "a file is opened at each request, so that every change of it is seen at once"
		hash   = "Go's maps size themselves"
		kernel = "the kernel's read-ahead and page cache serve well"
	)
	without := func(why string, d conf.Directive) conf.Directive {
		d.Why = why
		return d
	}
	flag := func(name string, in conf.Context, why string) conf.Directive {
		return without(why, conf.Flag(name, in, new(conf.Opt[bool]), "", "Accepted without effect."))
	}
	num := func(name, why string) conf.Directive {
		return without(why, conf.Num(name, conf.HTTPServerLocation, new(conf.Opt[int]), "", "Accepted without effect."))
	}
	size := func(name, why string) conf.Directive {
		return without(why, conf.Size(name, conf.HTTPServerLocation, new(conf.Opt[int64]), "", "Accepted without effect."))
	}
	return []conf.Directive{
		num("types_hash_max_size", hash),
		num("types_hash_bucket_size", hash),
		flag("sendfile", conf.HTTPServerLocation|conf.LocationIf, sent),
		size("sendfile_max_chunk", "a connection's goroutine holds up no other, however long it sends"),
		without(sent, conf.Custom("aio", conf.HTTPServerLocation, conf.Args1, new(conf.Opt[bool]), parseAIO, "", "Accepted without effect.")),
		flag("aio_write", conf.HTTPServerLocation, sent),
		size("read_ahead", kernel),
		without(kernel, conf.Custom("directio", conf.HTTPServerLocation, conf.Args1, new(conf.Opt[int64]), parseDirectio, "", "Accepted without effect.")),
		without(kernel, conf.Offset("directio_alignment", conf.HTTPServerLocation, new(conf.Opt[int64]), "", "Accepted without effect.")),
		flag("tcp_nopush", conf.HTTPServerLocation, "the head goes out together with the file's beginning"),
		without(sent, conf.Bufs("output_buffers", conf.HTTPServerLocation, new(conf.Opt[conf.Buffers]), "", "Accepted without effect.")),
		without(cached, conf.Custom("open_file_cache", conf.HTTPServerLocation, conf.Args12, new(conf.Opt[bool]), parseOpenFileCache, "", "Accepted without effect.")),
		without(cached, conf.Sec("open_file_cache_valid", conf.HTTPServerLocation, new(conf.Opt[time.Duration]), "", "Accepted without effect.")),
		num("open_file_cache_min_uses", cached),
		flag("open_file_cache_errors", conf.HTTPServerLocation, cached),
		flag("open_file_cache_events", conf.HTTPServerLocation, cached),
	}
}

func parseAIO(s *conf.Setting) (bool, error) {
	switch v := s.Arg(0); {
	case v == "on", v == "off", v == "threads":
		return true, nil
	case strings.HasPrefix(v, "threads="):
		_, err := ngx.ParseText(s, v[len("threads="):])
		return true, err
	}
	return false, conf.Brief("invalid value")
}

func parseDirectio(s *conf.Setting) (int64, error) {
	if s.Arg(0) == "off" {
		return 0, nil
	}
	n, ok := conf.ParseOffset(s.Arg(0))
	if !ok {
		return 0, conf.Brief("invalid value")
	}
	return n, nil
}

func parseOpenFileCache(s *conf.Setting) (bool, error) {
	limit, off := 0, false
	for i := range s.Args {
		v := s.Arg(i)
		var ok bool
		switch {
		case strings.HasPrefix(v, "max="):
			limit, ok = conf.ParseNum(v[len("max="):])
			ok = ok && limit > 0
		case strings.HasPrefix(v, "inactive="):
			_, ok = conf.ParseTime(v[len("inactive="):], false)
		case v == "off":
			off, ok = true, true
		}
		if !ok {
			return false, fmt.Errorf(`invalid "open_file_cache" parameter "%s"`, v)
		}
	}
	if limit == 0 && !off {
		return false, fmt.Errorf(`"open_file_cache" must have the "max" parameter`)
	}
	return true, nil
}

// confOf returns the Conf in force at a scope.
func confOf(s *ngx.Scope) *Conf { return conf.Of[*Conf](s.Level) }

// Modules returns the modules that answer and rewrite, in the order in which their steps run.
func Modules() []ngx.Module {
	return []ngx.Module{
		{Name: "static", Conf: func() conf.Settings { return new(Conf) }},
		{Name: "try_files", Scope: addTryFiles},
		{Name: "random_index", Scope: addRandomIndex},
		{Name: "index", Scope: addIndex},
		{Name: "autoindex", Scope: addAutoindex},
		{Name: "gzip_static", Scope: addGzipStatic},
		{Name: "static_files", Scope: addStatic},
		{Name: "empty_gif", Scope: addEmptyGIF},
		{Name: "post_action", Scope: addPostAction},
	}
}

// NotModified returns the filter that answers conditional requests; it runs before all other header filters.
func NotModified() ngx.Module {
	return ngx.Module{Name: "not_modified", Scope: func(b *ngx.Build, s *ngx.Scope) error {
		since := confOf(s).IfModifiedSince.V
		s.Add(ngx.HeaderFilter, func(r *ngx.Request) ngx.Outcome { return notModified(r, since) })
		return nil
	}}
}

// Ranges returns the filter that answers requests for ranges; it runs behind all other header filters.
func Ranges() ngx.Module {
	return ngx.Module{Name: "range", Scope: func(b *ngx.Build, s *ngx.Scope) error {
		c := confOf(s)
		limit := -1
		if c.MaxRanges.IsSet() {
			limit = c.MaxRanges.V
		}
		if limit != 0 {
			s.Add(ngx.HeaderFilter, func(r *ngx.Request) ngx.Outcome { return ranges(r, limit) })
		}
		return nil
	}}
}
