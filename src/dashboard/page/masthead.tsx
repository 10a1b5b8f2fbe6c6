// The top of the page: whose mesh this is, whether what is shown is live, and the whole mesh at
// one glance.

import type { ComponentChildren } from 'preact';
import { Sparkline } from './figures.tsx';
import { formatDuration, formatMs, formatPart, formatRate, formatShare, plural } from './format.ts';
import { LockIcon, Weave } from './icons.tsx';
import { type Severity, severityOfTraffic, worst } from './severity.ts';
import { connection, history, nowMs, type View, view } from './state.ts';

export function Masthead() {
	const snapshot = view.value?.snapshot;
	return (
		<header class="masthead">
			<a class="brand" href="#top">
				<Weave />
				<h1>weft</h1>
			</a>
			{snapshot !== undefined && <span class="trust-domain">{snapshot.trustDomain}</span>}
			<nav aria-label="Parts of this page">
				<a href="#map">Map</a>
				<a href="#services">Services</a>
				<a href="#routes">Routes</a>
				<a href="#sidecars">Sidecars</a>
			</nav>
			<Liveness />
		</header>
	);
}

function Liveness() {
	const state = connection.value;
	if (state.kind === 'live') {
		return (
			<span class="liveness is-live" title="A snapshot each second; rates and latencies over the last 10 s">
				<span class="pulse" aria-hidden="true" />
				Live
			</span>
		);
	}
	return <span class="liveness">{state.kind === 'lost' ? 'Unreachable' : 'Connecting…'}</span>;
}

/** Loud, and announced, when what is shown is old. */
export function StaleBanner() {
	const state = connection.value;
	if (state.kind !== 'lost') return <div role="status" class="sr-only" />;
	const age = state.lastMs === null ? null : Math.max(0, nowMs.value - state.lastMs) / 1000;
	return (
		<div class="stale-banner">
			<strong role="alert">Control plane unreachable.</strong>{' '}
			{age === null ? 'No data yet.' : `Last data ${formatDuration(age)} ago.`}{' '}
			<span class="quiet">Sidecars carry traffic on with what they have. Trying again.</span>
		</div>
	);
}

export function Glance({ current }: { readonly current: View }) {
	const { snapshot, attention } = current;
	const traffic = snapshot.traffic;
	const { services } = snapshot;
	const unhealthy = services.filter((each) => each.healthy < each.instances || each.instances === 0).length;
	const connected = snapshot.sidecars.filter((sidecar) => sidecar.connected).length;
	const inSync = snapshot.sidecars.filter((sidecar) => sidecar.connected && sidecar.inSync).length;
	const all = snapshot.sidecars.length;
	const verdict: Severity = worst(attention.map((item) => item.severity));
	const samples = history.of('mesh');
	const idle = traffic.requestRate === 0;
	return (
		<section class="glance" aria-label="The mesh at a glance">
			<div class={`verdict is-${verdict}`}>
				<span class="verdict-mark" aria-hidden="true" />
				<span class="verdict-text">
					{attention.length === 0
						? 'All is well'
						: `${plural(attention.length, 'thing needs', 'things need')} attention`}
				</span>
				<span class="quiet">
					up {formatDuration(snapshot.controlPlane.uptimeSeconds)}, revision {snapshot.controlPlane.storeRevision}
				</span>
			</div>
			<Stat name="Requests" unit="/s" value={formatRate(traffic.requestRate)}>
				<Sparkline samples={samples} value={(sample) => sample.rate} />
			</Stat>
			<Stat name="Success" value={idle ? '–' : formatShare(traffic.successRate)} severity={severityOfTraffic(traffic)}>
				<Sparkline samples={samples} value={(sample) => sample.success} floor={0.9} />
			</Stat>
			<Stat name="Latency p50 / p99" unit="ms" value={`${formatMs(traffic.p50Ms)} / ${formatMs(traffic.p99Ms)}`}>
				<Sparkline samples={samples} value={(sample) => sample.p99Ms} />
			</Stat>
			<Stat name="Services" value={String(services.length)} severity={unhealthy > 0 ? 'warn' : 'ok'}>
				{unhealthy === 0 ? 'all healthy' : `${unhealthy} degraded`}
			</Stat>
			<Stat name="Sidecars in sync" value={`${inSync} / ${all}`} severity={inSync < all ? 'warn' : 'ok'}>
				{connected === all ? 'all connected' : `${all - connected} not connected`}
			</Stat>
			<Stat name="Mutual TLS" value={idle ? '–' : formatPart(current.mtlsShare)}>
				<LockIcon /> of requests
			</Stat>
		</section>
	);
}

function Stat({
	name,
	value,
	unit = '',
	severity = 'ok',
	children,
}: {
	readonly name: string;
	readonly value: string;
	readonly unit?: string;
	readonly severity?: Severity;
	readonly children: ComponentChildren;
}) {
	return (
		<div class="stat">
			<span class="stat-name">{name}</span>
			<span class={`stat-value is-${severity}`}>
				{value}
				{unit !== '' && <small> {unit}</small>}
			</span>
			<span class="stat-more">{children}</span>
		</div>
	);
}
