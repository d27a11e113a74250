package main

// seedConf is the seed's configuration with two backends; its balancer lies in
// testdata and is found by both servers under the run's folder.
const seedConf = `lua_shared_dict cache 1m;
upstream backend {
	server 127.0.0.1:BACKEND;
	server 127.0.0.2:BACKEND;
	balancer_by_lua_file lua/balancer.lua;
	keepalive 64;
}
proxy_http_version 1.1; proxy_set_header Connection "";
server { listen 127.0.0.1:PORT; location / { proxy_pass http://backend; } }
lua_shared_dict healthcheck 1m;
lua_socket_log_errors off;
init_worker_by_lua_block {
	local hc = require "resty.upstream.healthcheck"
	local ok, err = hc.spawn_checker{
		shm = "healthcheck", upstream = "backend", type = "http",
		http_req = "GET /128 HTTP/1.0\r\nHost: localhost\r\n\r\n",
		interval = 2000, timeout = 1000, fall = 3, rise = 2, valid_statuses = {200, 302}, concurrency = 10,
	}
	if not ok then
		ngx.log(ngx.ERR, "failed to spawn health checker: ", err)
		return
	end
}
`
