// Package script runs the scripts of testdata: client, server, backends and the
// expected output of a directive or a scenario in one file that reads like
// documentation. It is test code; nothing of the server imports it.
//
// # Running
//
//	go test ./internal/script                              # against limpet
//	go test ./internal/script -run 'TestDirectives/^listen$'
//	ORACLE=/usr/sbin/nginx go test ./internal/script       # against a real nginx
//	UPDATE=1 go test ./internal/script -run ...            # writes what cmp got into the script
//	go test ./internal/script -run ... -testwork -v        # keeps the folder, shows all
//
// Recording expectations with ORACLE and UPDATE together, then running against
// limpet, is the intended order. Debian's nginx is of version 1.22: what nginx
// changed since needs `[oracle] skip 'why'`.
//
// # A script
//
//	# return answers by itself
//	serve -http http.conf
//	request PORT1 GET /
//	cmp stdout response
//
//	-- http.conf --
//	server {
//		listen 127.0.0.1:PORT1;
//		location / { return 200 hello; }
//	}
//	-- response --
//	HTTP/1.1 200 OK
//	Server: nginx/VERSION
//	Date: DATE
//	Content-Type: text/plain
//	Content-Length: 5
//	Connection: keep-alive
//
//	hello
//
// It is a testscript (https://pkg.go.dev/github.com/rogpeppe/go-internal/testscript);
// that package's own commands are there: cmp, stdout, exists, cp, mv, rm, mkdir, exec, env, stop, skip, ...
// A `!` in front of a command wants it to fail. Single quotes hold an argument together.
// Lines that begin with # are headings. Each script runs in a folder of its own, $WORK, which is the server's prefix.
//
// # Words
//
// PORT1 to PORT9 and BACKEND1 to BACKEND9 stand for free ports of the loopback
// interface, in files and in arguments, and are put back into all output, so
// that expectations are literal: `upstream: "http://127.0.0.1:BACKEND1/"`.
// MD5-BACKEND1 and SHA1-BACKEND1 are the digests of 127.0.0.1:BACKEND1 in hex.
// $WORK is the script's folder, in files, too. A file that cmp compares with is left as it is.
// A version of nginx in output is VERSION, a Date field is DATE.
//
// # Scripts for several kinds of modules
//
// Modules that pass requests on have many directives alike: proxy_hide_header, fastcgi_hide_header, ... Their scripts
// lie in testdata/relay, and each is run for the kinds that its first line names:
//
//	kinds proxy fastcgi scgi uwsgi memcached
//
//	go test ./internal/script -run 'TestRelay/^fastcgi_hide_header$'
//
// What is written KIND there is the kind's name; KIND:// and KINDS:// are what stands in front of an address in its _pass,
// without and with TLS, perhaps nothing; LOGGED:// is how the error log shows it. A line of the script or of a file that
// begins with [fastcgi] or [!fastcgi] is for that kind, or all others, only. Backends speak the kind's protocol, and
// http { } of -http has parameters (or the key) that tell a backend method and URI. UPDATE doesn't reach these scripts.
//
//	kinds uwsgi proxy
//	# a field is kept from the client
//	backend BACKEND1 header='X-Secret: 1'
//	serve -http http.conf
//	request -head PORT1 GET /
//	! stdout X-Secret
//	-- http.conf --
//	server { listen 127.0.0.1:PORT1; location / { KIND_hide_header X-Secret; KIND_pass KIND://127.0.0.1:BACKEND1; } }
//
// Conditions: [oracle] a real nginx is tested; [root] the user is root; [ipv6]
// [::1] can be listened on; [lua] the server runs Lua.
//
// # The server
//
//	serve [-c FILE] [option]...       starts the server with FILE (nginx.conf) and waits for its pid file
//	serve -http FILE [option]...      the same with a file that holds what stands inside http { }
//	check FILE [option]...            runs -t and prints what it says; with ! it must be refused
//	check -http FILE [option]...
//	reload                            sends HUP and waits for the new configuration; when it is refused, fails and prints why
//	signal HUP|QUIT|TERM|INT|USR1|USR2|WINCH|KILL
//	quit [SIGNAL]                     sends QUIT, or the signal, and waits for the end
//	limpet VERB [argument]...         runs one of limpet's own commands (drain, status, ...) and prints what it says; with ! it must fail
//	edit FILE s/REGEXP/TEXT/          replaces text in a file
//	log [-all] [-new] error|access|FILE [REGEXP]
//	                                  prints a log; with REGEXP its lines that match, waiting for one. Times, processes
//	                                  and connection numbers are taken out; notices, too, unless -all or REGEXP is given.
//	                                  -new: only what came since the last log command for the file
//	allow alert|emerg [REGEXP]        a script fails when an error log has such lines at the end, unless allowed
//
// What the file lacks of pid, daemon off and error_log (error.log, level info) is
// given by -g; events { } must be in a whole file. The access log is logs/access.log.
// The server's time zone is the script's (env TZ=Asia/Tokyo). limpet doesn't watch the files unless serve has --watch. Everything is stopped at the script's end.
//
// # Backends
//
//	backend BACKEND1 [word]...        starts a backend at 127.0.0.1:BACKEND1; also HOST:BACKEND1 and unix:$WORK/s
//	backend -set BACKEND1 [word]...   changes what it answers
//	backend -stop BACKEND1            closes its socket and connections
//	received [-wait N] BACKEND1       prints the requests it got, with LF, and forgets them; first waits for N;
//	                                  -lines prints request lines, -count their number, -connections that of connections
//
// A backend answers 200 with its name and a newline. Words:
//
//	name=N, body=TEXT, body=@FILE     another body
//	status=N, header='K: v'           (repeatable)
//	path=P                            the words are for requests of this path
//	times=N                           the words are for the next N requests, then it answers as before
//	delay=D, body-delay=D             waits before the head, before the body
//	chunked                           sends the body in a chunk
//	raw=FILE, raw-bytes=FILE          writes this whatever was asked, lines of the head ended by CR LF, or as it is
//	echo                              answers with the request as it was received
//	echo-connection                   answers with what is known of the connection: from=ADDRESS and, of TLS, version=, cipher=,
//	                                  name= (SNI), client= (the certificate's subject), resumed=
//	hang, reset, close                never answers, resets, closes; close with raw= closes behind it
//	deaf, full                        reads nothing; takes no connection, its queue being full (when it is started only)
//	keepalive=off                     closes after each response
//	tls=NAME                          speaks TLS with NAME.crt and NAME.key, see cert
//	speaks=PROTOCOL                   http, fastcgi, scgi, uwsgi or memcached; the kind's in a shared script, else http
//
// A request with Upgrade is answered by 101 and an echo of all that follows.
//
// Of a request with parameters echo and received show one NAME=VALUE a line, an empty line and the body; the first ones are
// what the protocol has beside them: fastcgi.role, fastcgi.keep_conn, uwsgi.modifiers. path= looks at REQUEST_URI. An
// answer's head is CGI's, of uwsgi with HTTP's first line; raw= is such a head and a body; chunked leaves Content-Length out.
// A request that breaks its protocol is kept as a line that says why. FastCGI's own words:
//
//	stderr=TEXT                       writes to standard error first
//	records=FILE                      answers with the records in FILE, one a line, e.g.
//
//	stdout "Status: 200 OK\r\n\r\nhel"
//	stderr padding=3 "a warning\n"
//	version=2 id=513 type=9 "x"
//	sleep=50ms
//	bytes "\x01\x06\x00"
//	stdout
//	end
//
// # Names
//
//	dns PORT9 [NAME=VALUE,...]...     starts a name server at 127.0.0.1:PORT9 (UDP), or gives it other names
//
// A VALUE is an address, >ALIAS, PRIORITY/WEIGHT/PORT/HOST of a service, or !CODE for an error. What it says is valid
// for a second; a name that isn't there doesn't exist.
//
// # Clients
//
//	request [option]... PORT1 METHOD TARGET ['Header: v']...
//	request [option]... PORT1 FILE
//
// sends a request, or the requests in FILE (lines end with CR LF on the wire, a
// body with a Content-Length is sent as it is, -raw sends all as it is), and
// prints each response once it is complete by its framing, with LF, chunked
// bodies decoded. PORT1 may be HOST:PORT1, [::1]:PORT1 or unix:$WORK/s. It fails
// when a response is missing or cut, and says at its end: # closed, # reset, # refused, # timeout.
//
//	-status, -head, -body             prints the status line, the head, the body only
//	-wire                             prints the body as it was on the wire
//	-open                             says at the end whether the connection is # open or # closed
//	-times N [-same]                  N times, each on a connection of its own, or on the same
//	-data TEXT, -data @FILE           a body
//	-jar NAME                         sends and keeps cookies
//	-mask NAME,...                    prints these fields as NAME: MASKED (ETag, Last-Modified)
//	-tls, -sni NAME                   over TLS; certificates aren't verified
//	-from IP                          from a source address, e.g. 127.0.0.2
//	-timeout D                        instead of 5s
//
// Step by step:
//
//	connect [-tls] [-sni NAME] [-from IP] NAME PORT1
//	send NAME [-raw] FILE             or: send NAME -text 'GET / HTTP/1.1\r\n'; it says # reset when it fails
//	recv NAME                         a response; or -bytes N, -eof, -until REGEXP; -open as for request
//	close NAME [-half | -reset]
//
// HTTP/2:
//
//	frames [-times N] [-data TEXT] [-tls] PORT1 METHOD TARGET ['Header: v']...
//
// sends requests at once, each on a stream of its own, once the server's settings are there, and prints the frames
// that come until every stream has its end: SETTINGS MAX_CONCURRENT_STREAMS=128 ..., WINDOW_UPDATE 1 65536,
// HEADERS 1 200, DATA 1 8192, DATA 1 100 end, RST_STREAM 3 REFUSED_STREAM, GOAWAY 1 NO_ERROR. A body goes out as
// the windows let it; the client's own are large.
//
// Others:
//
//	until REGEXP COMMAND [arg]...     repeats a command of this package until its output matches; with ! until it doesn't
//	cert [-by NAME] NAME [HOST]...    makes NAME.crt and NAME.key; signed by itself, or by another, whose own
//	                                  certificate follows in NAME.crt unless it signed itself
//	crl NAME CA [CERT]...             makes NAME.crl: CA's list, with these certificates revoked
//	sleep DURATION                    where nothing can be waited for
package script
