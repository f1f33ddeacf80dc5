-- Rights over documents, wallets, the school's order and exports. Superusers hold them all.
UPDATE roles SET permissions = permissions || '{users.export,kyc.read,kyc.review,wallet.write,school.read,school.write}'
    WHERE role = 'admin';
UPDATE roles SET permissions = permissions || '{school.read,school.write}' WHERE role = 'dp_academics';
UPDATE roles SET permissions = permissions || '{school.read}' WHERE role = 'hod';
