// Sign in without leaving the page where name or password is wrong.
document.addEventListener("submit", async (event) => {
  const form = event.target;
  if (!form.matches(".login form")) return;
  event.preventDefault();
  const body = JSON.stringify(Object.fromEntries(new FormData(form)));
  const answer = await fetch("/api/v1/session", { method: "POST", body, headers: { "content-type": "application/json" } });
  if (answer.ok) { location.href = form.dataset.to; return; }
  const seconds = answer.headers.get("retry-after") ?? "60";
  form.querySelector("[role=alert]").textContent = answer.status === 429 ? form.dataset.wait.replace("{seconds}", seconds) : form.dataset.wrong;
  form.querySelector("[name=password]").select();
});
