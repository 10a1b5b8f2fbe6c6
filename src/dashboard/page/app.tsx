// The page: masthead, glance, map with details, services, routes, sidecars.

import { Detail } from './detail.tsx';
import { Graph } from './graph.tsx';
import { Glance, Masthead, StaleBanner } from './masthead.tsx';
import { RouteList } from './routes.tsx';
import { connection, selected, view } from './state.ts';
import { ServiceTable, SidecarTable } from './tables.tsx';

export function App() {
	const current = view.value;
	const stale = connection.value.kind === 'lost';
	return (
		<div id="top" class={`page ${stale ? 'is-stale' : ''}`}>
			<Masthead />
			<StaleBanner />
			{current === null ? (
				<main class="waiting quiet">{stale ? '' : 'Waiting for the first snapshot…'}</main>
			) : (
				<main>
					<Glance current={current} />
					<div class={`stage ${selected.value === null ? '' : 'has-detail'}`}>
						<section id="map" class="panel map" aria-label="Map of services and calls">
							{current.topology.nodes.length === 0 ? (
								<p class="quiet empty">Nothing runs in this mesh yet.</p>
							) : (
								<Graph topology={current.topology} />
							)}
						</section>
						<Detail />
					</div>
					<section id="services" class="panel" aria-labelledby="services-title">
						<h2 id="services-title">Services</h2>
						<ServiceTable current={current} />
					</section>
					<section id="routes" class="panel" aria-labelledby="routes-title">
						<h2 id="routes-title">Routes in force</h2>
						<RouteList current={current} />
					</section>
					<section id="sidecars" class="panel" aria-labelledby="sidecars-title">
						<h2 id="sidecars-title">Sidecars</h2>
						<SidecarTable current={current} />
					</section>
				</main>
			)}
			<footer class="foot quiet">
				{current !== null && <>weft {current.snapshot.controlPlane.version}. </>}
				Rates and latencies are over the last 10 seconds, as the caller saw them.
			</footer>
		</div>
	);
}
