// Boxes over a video: which frame's are shown at the moment that is on the screen, and a layer that lies exactly where
// the picture is, however large the player is. Draws no boxes itself.

/** Keeps the layer over the video's picture, without the bars beside it; answers what ends that. */
export function layOver(video, layer) {
  const place = () => {
    const scale = Math.min(video.clientWidth / video.videoWidth, video.clientHeight / video.videoHeight);
    if (!Number.isFinite(scale)) return; // nothing is known of it yet
    const [width, height] = [video.videoWidth * scale, video.videoHeight * scale];
    Object.assign(layer.style, {
      inset: "auto",
      left: `${video.offsetLeft + (video.clientWidth - width) / 2}px`,
      top: `${video.offsetTop + (video.clientHeight - height) / 2}px`,
      width: `${width}px`,
      height: `${height}px`,
    });
  };
  const observer = new ResizeObserver(place);
  observer.observe(video);
  const events = ["loadedmetadata", "resize"];
  for (const event of events) video.addEventListener(event, place);
  place();
  return () => {
    observer.disconnect();
    for (const event of events) video.removeEventListener(event, place);
  };
}

/** Calls `told(milliseconds)` for every frame that comes onto the screen; answers what ends that. */
export function watch(video, told) {
  let asked = 0;
  const byTime = () => told(1000 * video.currentTime);
  const byFrame = (_, frame) => {
    told(1000 * frame.mediaTime);
    asked = video.requestVideoFrameCallback(byFrame);
  };
  if (video.requestVideoFrameCallback) asked = video.requestVideoFrameCallback(byFrame);
  else for (const event of ["timeupdate", "seeked", "loadeddata"]) video.addEventListener(event, byTime);
  return () => {
    if (asked) video.cancelVideoFrameCallback(asked);
    else for (const event of ["timeupdate", "seeked", "loadeddata"]) video.removeEventListener(event, byTime);
  };
}

/** Which of these moments is nearest to now, if one is within reach; else -1. All in milliseconds. */
export function nearest(moments, now, reach) {
  let best = -1;
  moments.forEach((moment, index) => {
    if (Math.abs(moment - now) <= reach + 1 && (best < 0 || Math.abs(moment - now) < Math.abs(moments[best] - now))) best = index;
  });
  return best;
}

/** How far around itself one of these moments is meant to hold: half of what lies between two, or `otherwise`. */
export function reachOf(moments, otherwise) {
  const sorted = [...new Set(moments)].sort((one, other) => one - other);
  const gaps = sorted.slice(1).map((moment, index) => moment - sorted[index]);
  return gaps.length ? Math.min(...gaps) / 2 : otherwise;
}
