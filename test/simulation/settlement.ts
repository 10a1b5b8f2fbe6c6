// What a proxy's own numbers must say when all requests are over, and when all connections are.

import type { Life } from './sidecar.ts';

/** All requests have ended. */
export function checkNumbers(life: Life, report: (violation: string) => void): void {
	const total = life.metric('envoy_http_downstream_rq_total');
	const completed = life.metric('envoy_http_downstream_rq_completed');
	const answered = life.metric('envoy_http_downstream_rq_xx');
	const resets = life.metric('envoy_http_downstream_rq_rx_reset') + life.metric('envoy_http_downstream_rq_tx_reset');
	if (completed !== total) report(`${life.name}: ${total} requests, ${completed} completed`);
	if (answered > total || total - answered > resets) {
		report(`${life.name}: ${total} requests, ${answered} answered, ${resets} reset`);
	}
	const inMesh = life.metric('istio_requests_total');
	if (inMesh !== total) report(`${life.name}: ${total} requests, ${inMesh} in istio_requests_total`);
	const faults = life.metric('weft_http_connection_faults_total');
	if (faults > 0) report(`${life.name}: ${faults} connections closed by a fault of the proxy itself`);
	for (const gauge of life.gaugesNotZero(
		/_(rq_active|rq_pending_active|rq_open|rq_retry_open|cx_open|active_faults)$/,
	)) {
		report(`${life.name}: all requests are over, ${gauge}`);
	}
	for (const { name, breakers, hosts } of clusters(life)) {
		const counts = {
			requests: breakers.requests.count,
			pending: breakers.pendingRequests.count,
			retries: breakers.retries.count,
			'of hosts': hosts.reduce((sum, host) => sum + host.activeRequests, 0),
		};
		for (const [what, count] of Object.entries(counts)) {
			if (count !== 0) report(`${life.name}: all requests are over, ${count} ${what} of cluster ${name} are counted`);
		}
	}
	const protocolErrors = life.metric('envoy_http_downstream_cx_protocol_error');
	if (protocolErrors > 0) report(`${life.name}: ${protocolErrors} downstream protocol errors, and nobody made any`);
}

/** All connections are closed. */
export function checkLeftovers(life: Life, report: (violation: string) => void): void {
	for (const gauge of life.gaugesNotZero(/_(cx_active|rq_active)$/)) report(`${life.name}: all is closed, ${gauge}`);
	for (const scope of ['envoy_http_downstream', 'envoy_listener_downstream']) {
		const opened = life.metric(`${scope}_cx_total`);
		const active = life.metric(`${scope}_cx_active`);
		if (active !== 0) report(`${life.name}: ${scope}: ${opened} connections, ${active} active`);
	}
	const opened = life.metric('envoy_listener_downstream_cx_total');
	const destroyed = life.metric('envoy_listener_downstream_cx_destroy');
	if (opened !== destroyed) report(`${life.name}: ${opened} connections accepted, ${destroyed} closed`);
	for (const { name, breakers, hosts } of clusters(life)) {
		const ofHosts = hosts.reduce((sum, host) => sum + host.counts.connectionsActive, 0);
		const counted = breakers.connections.count;
		if (counted !== 0 || ofHosts !== 0) {
			report(`${life.name}: all is closed, cluster ${name} counts ${counted} connections, its hosts ${ofHosts}`);
		}
	}
	if (life.proxy.listeners.connectionCount() !== 0) {
		report(`${life.name}: listeners count ${life.proxy.listeners.connectionCount()} connections`);
	}
}

function clusters(life: Life) {
	return [...life.proxy.clusters.all()].map((cluster) => ({
		name: cluster.name,
		breakers: cluster.breakers,
		hosts: [...cluster.hosts()],
	}));
}
