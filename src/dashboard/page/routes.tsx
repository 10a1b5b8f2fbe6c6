// Routes in force: for each, which requests go where in what shares, whether it holds, and how
// many sidecars have it.

import type { RouteSummary } from '../../control/mesh-snapshot.ts';
import { ShareLine, Status } from './figures.tsx';
import type { View } from './state.ts';

export function RouteList({ current }: { readonly current: View }) {
	const { routes } = current.snapshot;
	if (routes.length === 0) {
		return <p class="quiet empty">No route. Requests go to the instances of the service they name, in equal shares.</p>;
	}
	const sorted = [...routes].sort((a, b) => (`${a.namespace}/${a.name}` < `${b.namespace}/${b.name}` ? -1 : 1));
	return (
		<div class="routes">
			{sorted.map((route) => (
				<Route
					key={`${route.kind}/${route.namespace}/${route.name}`}
					route={route}
					withNamespace={current.topology.manyNamespaces}
				/>
			))}
		</div>
	);
}

function Route({ route, withNamespace }: { readonly route: RouteSummary; readonly withNamespace: boolean }) {
	const { count, of } = route.acknowledged;
	const holds = route.accepted && route.resolvedRefs;
	return (
		<article class={`route ${holds ? '' : 'is-broken'}`}>
			<header class="route-head">
				<h3>{withNamespace ? `${route.namespace}/${route.name}` : route.name}</h3>
				{route.kind === 'GRPCRoute' && <span class="quiet">gRPC</span>}
				<span class="quiet">for {route.parents.join(', ')}</span>
				<span class="route-state">
					{!route.accepted && <Status severity="bad">not accepted</Status>}
					{route.accepted && !route.resolvedRefs && <Status severity="warn">backend missing</Status>}
					<Status severity={count < of ? 'warn' : 'ok'}>
						{count} of {of} sidecars
					</Status>
				</span>
			</header>
			{route.message !== '' && !holds && <p class={route.accepted ? 'nack is-mild' : 'nack'}>{route.message}</p>}
			<ol class="rules">
				{route.rules.map((rule, index) => (
					<li class="rule" key={index}>
						<div class="rule-when">
							{rule.matches.map((match) => (
								<span class={`match ${match === 'all' ? 'is-all' : ''}`} key={match}>
									{match === 'all' ? (route.rules.length === 1 ? 'every request' : 'everything else') : match}
								</span>
							))}
							{rule.filters.map((filter) => (
								<span class="filter quiet" key={filter}>
									{filter}
								</span>
							))}
						</div>
						<div class="rule-to">
							{rule.backends.length === 0 && <span class="quiet">no backend</span>}
							{rule.backends.map((backend) => (
								<ShareLine
									key={`${backend.service}:${backend.port}`}
									label={
										<>
											<span class={backend.share === 0 ? 'quiet' : ''}>{backend.service}</span>
											{!backend.resolved && <span class="is-bad"> missing</span>}
										</>
									}
									share={backend.share}
									severity={backend.resolved ? 'ok' : 'bad'}
								/>
							))}
						</div>
					</li>
				))}
			</ol>
		</article>
	);
}
