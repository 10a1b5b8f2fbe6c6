// The page's beginning.

import { render } from 'preact';
import { App } from './app.tsx';
import { start } from './state.ts';
import './styles/page.css';

start();
render(<App />, document.getElementById('app')!);
