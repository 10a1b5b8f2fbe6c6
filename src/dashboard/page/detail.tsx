// The panel beside the map: what is selected, or, when nothing is, what needs attention.

import type { ComponentChildren } from 'preact';
import { useEffect, useRef } from 'preact/hooks';
import type { TrafficFigures } from '../../control/mesh-snapshot.ts';
import type { AttentionItem } from './attention.ts';
import { ClassBar, ShareLine, Sparkline, Status } from './figures.tsx';
import { formatDuration, formatMs, formatRate, formatShare, plural, secondsBetween } from './format.ts';
import { CloseIcon, LockIcon, OpenLockIcon } from './icons.tsx';
import { severityOfCertificate, severityOfTraffic } from './severity.ts';
import { history, select, selected, view } from './state.ts';
import { addressOf, type MeshLink, type MeshNode, OUTSIDE } from './topology.ts';

export function Detail() {
	const chosen = selected.value;
	if (chosen === null) return <AttentionList items={view.value?.attention ?? []} />;
	return (
		<aside class="detail is-open" aria-label="Details of the selection">
			{chosen.kind === 'node' ? <NodeDetail node={chosen.node} /> : <LinkDetail link={chosen.link} />}
		</aside>
	);
}

function AttentionList({ items }: { readonly items: readonly AttentionItem[] }) {
	return (
		<aside class="detail" aria-label="What needs attention">
			<h2>Needs attention</h2>
			{items.length === 0 ? (
				<p class="quiet">Nothing. Select a service or a line on the map for its traffic, versions and identity.</p>
			) : (
				<ul class="attention">
					{items.map((item) => (
						<li key={item.key}>
							<button type="button" class={`attention-item is-${item.severity}`} onClick={() => goTo(item)}>
								<span class="status-dot" aria-hidden="true" />
								<span>
									<b>{item.subject}</b> {item.text}
								</span>
							</button>
						</li>
					))}
				</ul>
			)}
		</aside>
	);
}

function goTo({ target }: AttentionItem): void {
	if (target.kind === 'section') document.getElementById(target.id)?.scrollIntoView();
	else select(target);
}

function DetailHead({ kind, title }: { readonly kind: string; readonly title: string }) {
	const heading = useRef<HTMLHeadingElement>(null);
	useEffect(() => {
		const onKey = (event: KeyboardEvent) => {
			if (event.key === 'Escape') select(null);
		};
		document.addEventListener('keydown', onKey);
		return () => document.removeEventListener('keydown', onKey);
	}, []);
	return (
		<div class="detail-head">
			<span class="detail-kind">{kind}</span>
			<button type="button" class="detail-close" onClick={() => select(null)} aria-label="Close the details">
				<CloseIcon />
			</button>
			<h2 ref={heading} aria-live="polite">
				{title}
			</h2>
		</div>
	);
}

function NodeDetail({ node }: { readonly node: MeshNode }) {
	const time = view.value!.snapshot.time;
	const main = node.services[0];
	const principals = [...new Set(node.sidecars.flatMap((sidecar) => sidecar.certificate?.spiffeId ?? []))];
	const kind = { service: 'Service', client: 'Client', outside: 'Outside the mesh' }[node.kind];
	return (
		<>
			<DetailHead kind={node.namespace === '' ? kind : `${kind} in ${node.namespace}`} title={node.name} />
			{main !== undefined && <p class="detail-address mono">{addressOf(main)}</p>}
			{node.received !== null && <Figures traffic={node.received} historyKey={node.key} />}
			{node.versions.length > 0 && node.kind !== 'outside' && (
				<Block title="Versions">
					<ul class="plain">
						{node.versions.map((version) => (
							<li key={version.version} class="version">
								<ShareLine
									label={version.version || 'no version'}
									share={version.share}
									severity={severityOfTraffic({ requestRate: version.rate, successRate: version.successRate })}
								/>
								<span class="quiet version-more">
									{version.healthy === version.instances
										? plural(version.instances, 'instance')
										: `${version.healthy} of ${version.instances} healthy`}
									, {formatRate(version.rate)}/s{version.rate > 0 && `, ${formatShare(version.successRate)}`}
								</span>
							</li>
						))}
					</ul>
				</Block>
			)}
			<Links title="Called by" links={node.inbound} end="from" />
			<Links title="Calls" links={node.outbound} end="to" />
			{node.services.length > 1 && (
				<Block title="Also reached as">
					<ul class="plain">
						{node.services.slice(1).map((service) => (
							<li key={service.name}>
								{service.name} <span class="quiet mono">{addressOf(service)}</span>
							</li>
						))}
					</ul>
				</Block>
			)}
			{node.sidecars.length > 0 && (
				<Block title="Instances">
					<ul class="plain">
						{node.sidecars.map((sidecar) => (
							<li key={sidecar.id} class="instance">
								<Status severity={sidecar.health === 'unhealthy' || !sidecar.connected ? 'bad' : 'ok'}>
									<span class="mono">{sidecar.instance}</span>
								</Status>
								<span class="quiet">
									{sidecar.address}
									{sidecar.certificate !== null && (
										<>
											, certificate{' '}
											<span class={`is-${severityOfCertificate(secondsBetween(time, sidecar.certificate.notAfter))}`}>
												{formatDuration(secondsBetween(time, sidecar.certificate.notAfter))}
											</span>
										</>
									)}
								</span>
							</li>
						))}
					</ul>
				</Block>
			)}
			{principals.length > 0 && (
				<Block title={principals.length === 1 ? 'Principal' : 'Principals'}>
					{principals.map((principal) => (
						<Principal key={principal} id={principal} />
					))}
				</Block>
			)}
		</>
	);
}

function LinkDetail({ link }: { readonly link: MeshLink }) {
	const { summary } = link;
	const topology = view.value!.topology;
	const from = topology.nodeByKey.get(link.from);
	const to = topology.nodeByKey.get(link.to);
	const outside = summary.source.service === OUTSIDE;
	return (
		<>
			<DetailHead kind="Calls" title={`${from?.name} → ${to?.name}`} />
			<p class="detail-security">
				{summary.mtls === true && (
					<Status severity="ok">
						<LockIcon /> Mutual TLS on all of it
					</Status>
				)}
				{summary.mtls === null && 'Not known yet whether it is mutual TLS'}
				{summary.mtls === false && (
					<Status severity={outside ? 'ok' : 'warn'}>
						<OpenLockIcon /> {outside ? 'Plain text, from outside the mesh' : 'Not all of it is mutual TLS'}
					</Status>
				)}
			</p>
			<Figures traffic={summary.traffic} historyKey={link.key} />
			{link.edges.length > 0 && (
				<Block title="By version">
					<table class="mini">
						<thead>
							<tr>
								<th scope="col">from → to</th>
								<th scope="col">req/s</th>
								<th scope="col">success</th>
								<th scope="col">p99 ms</th>
							</tr>
						</thead>
						<tbody>
							{link.edges.map((edge) => (
								<tr key={`${edge.source.version}>${edge.destination.version}`}>
									<td>
										{edge.source.version || '–'} → {edge.destination.version || '–'}
									</td>
									<td>{formatRate(edge.traffic.requestRate)}</td>
									<td class={`is-${severityOfTraffic(edge.traffic)}`}>{formatShare(edge.traffic.successRate)}</td>
									<td>{formatMs(edge.traffic.p99Ms)}</td>
								</tr>
							))}
						</tbody>
					</table>
				</Block>
			)}
			<Block title="Principals">
				<Principal id={summary.sourcePrincipal} label="caller" />
				<Principal id={summary.destinationPrincipal} label="callee" />
			</Block>
			<Block title="Ends">
				<p class="ends">
					{from !== undefined && (
						<button type="button" class="link" onClick={() => select({ kind: 'node', key: from.key })}>
							{from.name}
						</button>
					)}
					{to !== undefined && (
						<button type="button" class="link" onClick={() => select({ kind: 'node', key: to.key })}>
							{to.name}
						</button>
					)}
				</p>
			</Block>
		</>
	);
}

function Figures({ traffic, historyKey }: { readonly traffic: TrafficFigures; readonly historyKey: string }) {
	const samples = history.of(historyKey);
	return (
		<>
			<dl class="figures">
				<div>
					<dt>Requests</dt>
					<dd>
						{formatRate(traffic.requestRate)}
						<small> /s</small>
					</dd>
					<Sparkline samples={samples} value={(sample) => sample.rate} width={120} height={22} />
				</div>
				<div>
					<dt>Success</dt>
					<dd class={`is-${severityOfTraffic(traffic)}`}>{formatShare(traffic.successRate)}</dd>
					<Sparkline samples={samples} value={(sample) => sample.success} floor={0.9} width={120} height={22} />
				</div>
			</dl>
			<dl class="figures is-latency">
				{(['p50Ms', 'p90Ms', 'p99Ms'] as const).map((name) => (
					<div key={name}>
						<dt>{name.slice(0, 3)}</dt>
						<dd>
							{formatMs(traffic[name])}
							<small> ms</small>
						</dd>
					</div>
				))}
			</dl>
			<Block title="Responses">
				<ClassBar traffic={traffic} />
			</Block>
		</>
	);
}

function Links({
	title,
	links,
	end,
}: {
	readonly title: string;
	readonly links: readonly MeshLink[];
	readonly end: 'from' | 'to';
}) {
	if (links.length === 0) return null;
	const sorted = [...links].sort((a, b) => (a[end] < b[end] ? -1 : 1));
	return (
		<Block title={title}>
			<table class="mini">
				<tbody>
					{sorted.map((link) => (
						<tr key={link.key}>
							<td>
								<button type="button" class="link" onClick={() => select({ kind: 'link', key: link.key })}>
									{view.value!.topology.nodeByKey.get(link[end])?.name}
								</button>
							</td>
							<td>{formatRate(link.summary.traffic.requestRate)}/s</td>
							<td class={`is-${severityOfTraffic(link.summary.traffic)}`}>
								{formatShare(link.summary.traffic.successRate)}
							</td>
							<td>{formatMs(link.summary.traffic.p99Ms)} ms</td>
						</tr>
					))}
				</tbody>
			</table>
		</Block>
	);
}

function Block({ title, children }: { readonly title: string; readonly children: ComponentChildren }) {
	return (
		<section class="block">
			<h3>{title}</h3>
			{children}
		</section>
	);
}

function Principal({ id, label }: { readonly id: string; readonly label?: string }) {
	return (
		<p class="principal">
			{label !== undefined && <span class="quiet">{label} </span>}
			{id === '' ? <span class="quiet">unknown</span> : <span class="mono">{id}</span>}
		</p>
	);
}
